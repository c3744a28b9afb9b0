#include "api/endpoints.h"
#include "api/fields.h"
#include "api/keys.h"
#include "api/openai/answer.h"
#include "api/sdapi/board.h"
#include "api/sdapi/sd_info.h"
#include "async/offload.h"
#include "image/base64.h"
#include "image/codec.h"

namespace diffused::api {
namespace {

json::object state_of(const SdProgress& progress) {
  const bool busy = progress.jobs > 0;
  return {{"skipped", false},
          {"interrupted", progress.interrupted},
          {"stopping_generation", progress.interrupted},
          {"job", busy ? "scripts_txt2img" : ""},
          {"job_count", progress.jobs},
          {"job_timestamp", busy ? sd_timestamp(progress.started) : "0"},
          {"job_no", progress.images_done},
          {"sampling_step", progress.step},
          {"sampling_steps", progress.steps}};
}

// The preview as base64, or null.
json::value picture_of(const std::optional<Image>& preview) {
  if (!preview) return nullptr;
  const auto bytes = find_codec("png")->encode(*preview, {});
  return bytes ? json::value(to_base64(*bytes)) : json::value(nullptr);
}

}  // namespace

asio::awaitable<void> sd_progress(const Api& api, http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  const SdProgress progress = api.sd_board->progress(user_of(request));
  const auto skip = request.query.find("skip_current_image");
  const bool wanted = skip == request.query.end() || read_truth(json::value(skip->second)) != true;
  const double passed = static_cast<double>(api.clock.lifetime_seconds() - progress.started);
  const double left = progress.progress > 0 ? passed / progress.progress - passed : 0;
  json::object body{{"progress", progress.progress},
                    {"eta_relative", left},
                    {"state", state_of(progress)},
                    {"current_image", nullptr},
                    {"textinfo", nullptr}};
  if (wanted && progress.preview)
    body["current_image"] =
        co_await offload(api.workers, user_of(request), [&] { return picture_of(progress.preview); });
  co_await send_json(exchange, body);
}

asio::awaitable<void> sd_skip(const Api& api, http::Exchange& exchange) {
  api.sd_board->skip(user_of(exchange.request()));
  const json::object body;
  co_await send_json(exchange, body);
}

asio::awaitable<void> sd_interrupt(const Api& api, http::Exchange& exchange) {
  api.sd_board->interrupt(user_of(exchange.request()));
  const json::object body;
  co_await send_json(exchange, body);
}

}  // namespace diffused::api
