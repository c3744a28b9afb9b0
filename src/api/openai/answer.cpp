#include "api/openai/answer.h"

#include "api/early_head_answer.h"
#include "api/errors.h"
#include "api/keys.h"
#include "api/memory.h"
#include "api/openai/accept_job.h"
#include "api/openai/idempotent_answer.h"
#include "api/openai/images_response.h"
#include "api/openai/stream.h"
#include "async/offload.h"
#include "async/submitted_job.h"
#include "base/ids.h"
#include "base/json_text.h"
#include "image/base64.h"

namespace diffused::api {
namespace {

// The codec a client asks for by "Accept: image/…" first of all, or null; any image type means PNG. So does
// text/html, which a browser asks for that sends a plain form: it can show a picture.
const Codec* accepted_codec(const http::Request& request) {
  std::string_view accept = request.header("accept");
  accept = accept.substr(0, accept.find_first_of(",; "));
  if (accept == "text/html") return find_codec("png");
  if (accept.substr(0, 6) != "image/") return nullptr;
  const Codec* codec = find_codec(accept.substr(6));
  return codec != nullptr ? codec : find_codec("png");
}

// One item of "data": the picture itself, or where it was put. Off the io threads.
Result<json::object> to_item(const Api& api, const http::Request& request, const ImageRequest& image_request,
                             const Picture& picture) {
  json::object item{{"seed", picture.seed}};
  if (image_request.response_format == ResponseFormat::b64_json) {
    item["b64_json"] = to_base64(*picture.bytes);
    return item;
  }
  const std::string id = random_id("img_");
  const std::int64_t expires = api.clock.lifetime_seconds() + api.options.image_lifetime.count();
  const storage::Blob blob{picture.bytes, std::string(image_request.codec->media_type), expires};
  TRY_VOID(store_picture(api, image_request.generate.model, id, blob));
  item["url"] = picture_url(api.options, request, id + "." + std::string(image_request.codec->extension));
  return item;
}

struct Finished {
  std::vector<Picture> pictures;  // by image index, though they are finished in any order
  json::array items;
  Timings timings;
};

// Waits for the job's end; each picture is encoded while the next is being made. `slow` tells the client of
// life; null: raw bytes are wanted, and neither items nor anything before them.
asio::awaitable<Result<Finished>> finish(const Api& api, const http::Request& http_request,
                                         const ImageRequest& request, const Recipe& recipe, SubmittedJob& run,
                                         EarlyHeadAnswer* slow) {
  Finished finished;
  finished.pictures.resize(request.generate.n());
  finished.items.resize(request.generate.n());
  while (true) {
    std::optional<Event> event = co_await run.next();
    if (!event) {
      if (slow != nullptr) co_await slow->still_working();
      continue;
    }
    if (auto* failed = std::get_if<JobFailed>(&*event)) co_return tl::unexpected(std::move(failed->error));
    if (const auto* done = std::get_if<JobDone>(&*event)) {
      finished.timings = done->timings;
      co_return finished;
    }
    const auto* ready = std::get_if<ImageReady>(&*event);
    if (ready == nullptr) continue;
    const auto encode = [&]() -> Result<std::pair<Picture, json::object>> {
      TRY(Picture picture, encode_picture(api, request, recipe, ready->seed, ready->image));
      json::object item;
      if (slow != nullptr) {
        TRY(item, to_item(api, http_request, request, picture));
        picture.bytes.reset();  // the item has them, or the store
      }
      return std::pair(std::move(picture), std::move(item));
    };
    auto encoded = co_await offload(api.workers, user_of(http_request), encode);
    if (!encoded) co_return tl::unexpected(std::move(encoded).error());
    finished.pictures[ready->image_index] = std::move(encoded->first);
    finished.items[ready->image_index] = std::move(encoded->second);
  }
}

http::Response json_answer(const Api& api, const ImageRequest& request, const http::Request& exchange_request,
                           Finished finished) {
  json::object body = images_object(api.clock.unix_seconds(), request, finished.pictures, finished.timings);
  body["id"] = exchange_request.request_id;
  body["data"] = std::move(finished.items);
  http::Response response;
  response.body = std::make_shared<const std::string>(json_text(body));
  return response;
}

http::Response raw_answer(const ImageRequest& request, const Picture& picture) {
  http::Response response;
  response.content_type = request.codec->media_type;
  response.body = picture.bytes;
  response.headers.emplace_back("x-diffused-seed", std::to_string(picture.seed));
  return response;
}

std::int64_t milliseconds(double seconds) { return static_cast<std::int64_t>(seconds * 1000.0 + 0.5); }

}  // namespace

asio::awaitable<void> answer_images(const Api& api, http::Exchange& exchange, ImageJob job,
                                    std::string_view event_prefix) {
  ImageRequest& request = job.request;
  if (wants_background(exchange.request(), request))
    co_return co_await accept_job(api, exchange, std::move(job));
  auto options = submit_options(api, exchange.request());
  if (!options) co_return co_await send_error(exchange, options.error());
  const Codec* accepted = accepted_codec(exchange.request());
  if (request.codec == nullptr) request.codec = accepted != nullptr ? accepted : find_codec("png");
  const bool raw = accepted != nullptr && request.generate.n() == 1 && !request.stream;
  if (!request.stream && is_keyed(api, exchange.request()))
    co_return co_await answer_once(api, exchange, std::move(job), raw);
  if (!request.stream && !raw && request.response_format == ResponseFormat::url)
    if (auto room = api.images.check_room(); !room) co_return co_await send_error(exchange, room.error());
  if (request.stream) {
    options->previews = request.partial_images;
    options->step_events = request.progress_events;
  }
  if (auto held = hold(exchange.request(), result_bytes(request, job.model.info), "its pictures"); !held)
    co_return co_await send_error(exchange, held.error());
  const Recipe recipe{request.generate, job.model.info, api.options.version};
  EarlyHeadAnswer slow(exchange, api.clock, api.options.early_head);
  auto run = SubmittedJob::submit(api.dispatcher, request.generate, *options, exchange.executor(), api.clock);
  if (!run) co_return co_await send_error(exchange, as_spelled(run.error(), request.spelling));
  exchange.note_job((*run)->ticket().id());
  if (request.stream) co_return co_await stream_images(api, exchange, request, recipe, **run, event_prefix);

  (*run)->keep_alive(api.options.keep_alive);
  auto finished = co_await finish(api, exchange.request(), request, recipe, **run, raw ? nullptr : &slow);
  if (!finished) co_return co_await slow.send(error_response(as_spelled(finished.error(), request.spelling)));
  const double total = finished->timings.total_seconds;
  const auto write = [&] { return json_answer(api, request, exchange.request(), *std::move(finished)); };
  http::Response response;
  if (raw) {
    response = raw_answer(request, finished->pictures.front());
  } else {
    response = co_await offload(api.workers, user_of(exchange.request()), write);
  }
  response.headers.emplace_back("openai-processing-ms", std::to_string(milliseconds(total)));
  for (auto& header : job_headers(api.options, (*run)->ticket(), recipe.request.model))
    response.headers.push_back(std::move(header));
  co_await slow.send(std::move(response));
}

}  // namespace diffused::api
