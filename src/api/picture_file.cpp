#include "api/endpoints.h"
#include "api/openai/answer.h"
#include "async/offload.h"

namespace diffused::api {
namespace {

// "img_3f….png" → "img_3f…" when the extension is that of a picture.
std::string_view id_of(std::string_view file) {
  const std::size_t dot = file.find('.');
  if (dot == std::string_view::npos) return {};
  for (const Codec& codec : codecs())
    if (codec.extension == file.substr(dot + 1)) return file.substr(0, dot);
  return {};
}

}  // namespace

asio::awaitable<void> send_picture(const Api& api, http::Exchange& exchange) {
  const std::string id(id_of(exchange.request().parameters.at("file")));
  auto blob = co_await offload(api.workers, user_of(exchange.request()), [&] { return api.images.get(id); });
  if (!blob) {
    Error error = blob.error();
    if (error.code == ErrorCode::not_found) error.message = "there is no such picture, or it has expired";
    co_return co_await send_error(exchange, std::move(error));
  }
  const std::int64_t seconds = std::max<std::int64_t>(blob->expires - api.clock.lifetime_seconds(), 0);
  http::Response response;
  response.content_type = blob->content_type;
  response.body = blob->bytes;
  // Pages of other sites show these pictures; whatever a browser makes of the bytes, it runs nothing.
  response.headers = {{"Cache-Control", "private, immutable, max-age=" + std::to_string(seconds)},
                      {"Content-Security-Policy", "default-src 'none'; sandbox"},
                      {"Cross-Origin-Resource-Policy", "cross-origin"}};
  co_await exchange.send(std::move(response));
}

}  // namespace diffused::api
