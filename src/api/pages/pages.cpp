// GET /, /status and /docs, and the files that these pages load.
#include "api/endpoints.h"
#include "api/keys.h"
#include "api/openai/answer.h"
#include "api/pages/page_files.h"
#include "async/offload.h"

namespace diffused::api {
namespace {

// Nothing is loaded from another host, and no script or style stands in a page itself: what a prompt or a
// file's name says can then never run.
constexpr std::string_view kPagePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

asio::awaitable<void> send_missing(http::Exchange& exchange) {
  Error error{ErrorCode::not_found, "there is no such page", {}, {}};
  co_await send_error(exchange, std::move(error));
}

// While somebody edits the pages, a file on the disk goes before the embedded one.
asio::awaitable<std::optional<std::string>> edited_file(const Api& api, http::Exchange& exchange,
                                                        const std::string& name) {
  if (api.options.pages_dir.empty()) co_return std::nullopt;
  co_return co_await offload(api.workers, user_of(exchange.request()),
                             [&] { return read_page_file(api.options.pages_dir, name); });
}

asio::awaitable<void> send_page_file(const Api& api, http::Exchange& exchange, std::string name) {
  const std::string_view type = page_media_type(name);
  if (type.empty()) co_return co_await send_missing(exchange);
  http::Response response;
  response.content_type = type;
  response.headers = {{"Content-Security-Policy", std::string(kPagePolicy)},
                      {"Referrer-Policy", "same-origin"}};
  if (auto edited = co_await edited_file(api, exchange, name)) {
    response.headers.emplace_back("Cache-Control", "no-store");
    response.body = std::make_shared<const std::string>(*std::move(edited));
    co_return co_await exchange.send(std::move(response));
  }
  const PageFile* file = find_page_file(name);
  if (file == nullptr) co_return co_await send_missing(exchange);
  // Browsers keep the file and ask whether it is still the same: all modules of a page are of one version.
  const std::string tag = '"' + std::string(file->hash) + '"';
  response.headers.emplace_back("Cache-Control", "no-cache");
  response.headers.emplace_back("ETag", tag);
  if (exchange.request().header("if-none-match") == tag)
    response.status = 304;
  else
    response.body = std::make_shared<const std::string>(file->text);
  co_await exchange.send(std::move(response));
}

}  // namespace

asio::awaitable<void> show_index(const Api& api, http::Exchange& exchange) {
  return send_page_file(api, exchange, "index.html");
}

asio::awaitable<void> show_status_page(const Api& api, http::Exchange& exchange) {
  return send_page_file(api, exchange, "status.html");
}

asio::awaitable<void> show_docs(const Api& api, http::Exchange& exchange) {
  return send_page_file(api, exchange, "docs.html");
}

asio::awaitable<void> show_page_file(const Api& api, http::Exchange& exchange) {
  return send_page_file(api, exchange, exchange.request().parameters.at("path"));
}

}  // namespace diffused::api
