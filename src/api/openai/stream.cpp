#include "api/openai/stream.h"

#include <fmt/format.h>

#include <map>
#include <span>

#include "api/errors.h"
#include "api/openai/images_response.h"
#include "async/offload.h"
#include "base/json_text.h"
#include "image/base64.h"
#include "image/resize.h"

namespace diffused::api {
namespace {

// One request's stream: turns the job's events into the client's.
class ImageStream {
 public:
  ImageStream(const Api& api, const std::string& user, const ImageRequest& request, const Recipe& recipe,
              std::string_view prefix, http::EventStream& out)
      : api_(api), user_(user), request_(request), recipe_(recipe), prefix_(prefix), out_(out) {}

  // Sends what the event means; false when it was the last.
  asio::awaitable<bool> send(const Event& event) {
    if (const auto* step = std::get_if<StepDone>(&event)) co_await send_progress(*step);
    if (const auto* preview = std::get_if<PreviewReady>(&event)) co_await send_preview(*preview);
    if (const auto* ready = std::get_if<ImageReady>(&event)) {
      finished_.emplace(ready->image_index, *ready);
      auto sent = co_await send_finished();
      if (!sent) {
        co_await send_failure(sent.error());
        co_return false;
      }
    }
    if (const auto* failed = std::get_if<JobFailed>(&event)) {
      co_await send_failure(failed->error);
      co_return false;
    }
    co_return !std::holds_alternative<JobDone>(event);
  }

 private:
  std::string name_of(std::string_view kind) const { return fmt::format("{}.{}", prefix_, kind); }

  std::string text_of(std::string_view kind, json::object payload) const {
    payload["type"] = name_of(kind);
    return json_text(payload);
  }

  // Has an event's text made off the io threads, as a picture in it has megabytes.
  template <typename Make>
  asio::awaitable<Result<std::string>> made(Make make) {
    return offload(api_.workers, user_, std::move(make));
  }

  // A preview has the latents' size; clients show it in the picture's place.
  Image enlarged(const Image& preview) const {
    return resize_lanczos(preview, request_.generate.width.value_or(recipe_.model.default_width),
                          request_.generate.height.value_or(recipe_.model.default_height));
  }

  // What partial and completed events share.
  json::object payload_of(const Picture& picture, std::size_t image_index) const {
    json::object payload{{"b64_json", to_base64(*picture.bytes)},
                         {"created_at", api_.clock.unix_seconds()},
                         {"image_index", image_index}};
    for (auto& member : describe(request_, picture)) payload[member.key()] = member.value();
    return payload;
  }

  asio::awaitable<void> send_progress(const StepDone& step) {
    json::object payload{{"image_index", step.image_index}, {"step", step.step}, {"steps", step.steps}};
    co_await out_.event(name_of("progress"), text_of("progress", std::move(payload)));
  }

  asio::awaitable<void> send_preview(const PreviewReady& preview) {
    const auto make = [&]() -> Result<std::string> {
      const std::uint64_t seed = recipe_.request.seeds[preview.image_index];
      TRY(const Picture picture, encode_picture(api_, request_, recipe_, seed, enlarged(preview.image)));
      json::object payload = payload_of(picture, preview.image_index);
      payload["partial_image_index"] = partial_images_[preview.image_index]++;
      return text_of("partial_image", std::move(payload));
    };
    const auto text = co_await made(make);
    if (!text) co_return;  // fewer previews than asked for are allowed; the picture itself decides
    co_await out_.event(name_of("partial_image"), *text);
  }

  // OpenAI's events have no picture's number: clients count, so pictures are sent in their order.
  asio::awaitable<Result<void>> send_finished() {
    for (auto next = finished_.find(pictures_sent_); next != finished_.end();
         next = finished_.find(++pictures_sent_)) {
      const ImageReady ready = std::move(next->second);
      finished_.erase(next);
      auto sent = co_await send_image(ready);
      if (!sent) co_return sent;
    }
    co_return Result<void>();
  }

  asio::awaitable<Result<void>> send_image(const ImageReady& ready) {
    const auto make = [&]() -> Result<std::string> {
      TRY(const Picture picture, encode_picture(api_, request_, recipe_, ready.seed, ready.image));
      json::object payload = payload_of(picture, ready.image_index);
      payload["seed"] = picture.seed;
      payload["usage"] = usage(request_, std::span(&picture, 1));
      if (!request_.safety_identifier.empty()) payload["safety_identifier"] = request_.safety_identifier;
      return text_of("completed", std::move(payload));
    };
    const auto text = co_await made(make);
    if (!text) co_return tl::unexpected(text.error());
    co_await out_.event(name_of("completed"), *text);
    co_return Result<void>();
  }

  asio::awaitable<void> send_failure(const Error& error) {
    const json::object payload{{"type", "error"}, {"error", error_object(error, status_of(error))}};
    co_await out_.event("error", json_text(payload));
  }

  const Api& api_;
  const std::string& user_;
  const ImageRequest& request_;
  const Recipe& recipe_;
  std::string_view prefix_;
  http::EventStream& out_;
  std::map<std::size_t, int> partial_images_;   // sent so far, by picture
  std::map<std::size_t, ImageReady> finished_;  // by index, until those before them are sent
  std::size_t pictures_sent_ = 0;
};

}  // namespace

asio::awaitable<void> stream_images(const Api& api, http::Exchange& exchange, const ImageRequest& request,
                                    const Recipe& recipe, SubmittedJob& run, std::string_view event_prefix) {
  const auto out = co_await exchange.stream(job_headers(api.options, run.ticket(), recipe.request.model));
  ImageStream stream(api, user_of(exchange.request()), request, recipe, event_prefix, *out);
  co_await out->comment("queued");
  run.keep_alive(api.options.keep_alive);
  while (true) {
    const std::optional<Event> event = co_await run.next();
    if (!event) {
      co_await out->comment("working");
    } else if (!co_await stream.send(*event)) {
      co_return;
    }
  }
}

}  // namespace diffused::api
