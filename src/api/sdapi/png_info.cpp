#include "api/endpoints.h"
#include "api/errors.h"
#include "api/json_body.h"
#include "api/memory.h"
#include "api/openai/answer.h"
#include "api/openai/uploads.h"
#include "api/sdapi/infotext.h"
#include "async/offload.h"
#include "base/utf8.h"
#include "image/codec.h"

namespace diffused::api {
namespace {

Result<json::object> read_info(const http::Request& request) {
  TRY_VOID(hold(request, 2 * request.body.size(), "what is read of it"));
  TRY(const json::object body, json_body(request));
  std::vector<Upload> images;
  TRY_VOID(take_images(body, "image", 1, images));
  if (images.empty())
    return fail(ErrorCode::invalid_argument, "image is required", "image", "missing_required_parameter");
  // One without a text is no mistake.
  const auto chunks = read_text(images[0].bytes);
  if (!chunks && chunks.error().code == ErrorCode::payload_too_large) return about(chunks.error(), "image");
  json::object items;
  std::string info;
  if (chunks) {
    for (const TextChunk& chunk : *chunks) {
      if (!is_utf8(chunk.text) || !is_utf8(chunk.key)) continue;
      items[chunk.key] = chunk.text;
      if (chunk.key == kParametersKey || chunk.key == kCommentKey) info = chunk.text;
    }
  }
  return json::object{{"info", info}, {"items", std::move(items)}, {"parameters", parse_infotext(info)}};
}

}  // namespace

asio::awaitable<void> sd_png_info(const Api& api, http::Exchange& exchange) {
  auto info = co_await offload_slow(api.workers, user_of(exchange.request()),
                                    [&] { return read_info(exchange.request()); });
  if (!info) co_return co_await send_error(exchange, info.error());
  const json::value body(*std::move(info));
  co_await send_large_json(api, exchange, body);
}

}  // namespace diffused::api
