#include <algorithm>

#include "api/endpoints.h"
#include "api/errors.h"
#include "api/job_run.h"
#include "api/memory.h"
#include "api/offload.h"
#include "api/openai/answer.h"
#include "api/sdapi/board.h"
#include "api/sdapi/sd_info.h"
#include "api/sdapi/sd_job.h"
#include "base/json_text.h"
#include "image/base64.h"

namespace diffused::api {
namespace {

constexpr int kPreviews = 10;  // for those who ask how it is getting on

// One generation from the first job to the answer.
class Generation {
 public:
  Generation(const Api& api, http::Exchange& exchange, SdJob job, SubmitOptions options)
      : api_(api),
        exchange_(exchange),
        job_(std::move(job)),
        options_(std::move(options)),
        n_(job_.job.request.generate.n()),
        board_(*api.sd_board, options_.user, job_.request.enable_hr ? 2 * n_ : n_,
               api.clock.lifetime_seconds()) {
    options_.step_events = true;
    options_.previews = kPreviews;
  }

  asio::awaitable<void> answer() {
    auto images = co_await run(job_.job.request.generate, 0);
    if (images && job_.request.enable_hr) images = co_await enlarge(*std::move(images));
    if (!images)
      co_return co_await send_error(exchange_, as_spelled(images.error(), job_.request.image.spelling));
    auto encoded = co_await encode(*images);
    if (!encoded) co_return co_await send_error(exchange_, encoded.error());
    const Recipe recipe = this->recipe();
    const json::object info = sd_info(recipe, job_.request, *images, api_.clock.unix_seconds());
    const json::value body = json::object{
        {"images", *std::move(encoded)}, {"parameters", job_.parameters}, {"info", json_text(info)}};
    co_await send_large_json(api_, exchange_, body);
  }

 private:
  using Images = Result<std::vector<ImageReady>>;

  // The job's pictures, by index, though they are finished in any order; those that there are when it is
  // interrupted. On the board its first picture is number `board_row`.
  asio::awaitable<Images> run(GenerateRequest request, std::size_t board_row) {
    std::vector<ImageReady> images;
    auto submitted =
        JobRun::submit(api_.dispatcher, std::move(request), options_, exchange_.executor(), api_.clock);
    if (!submitted) co_return tl::unexpected(submitted.error());
    const std::shared_ptr<JobRun> job = *std::move(submitted);
    board_.set_cancel([executor = exchange_.executor(), job = std::weak_ptr(job)] {
      asio::post(executor, [job] {
        if (const auto running = job.lock()) running->cancel();
      });
    });
    while (true) {
      std::optional<Event> event = co_await job->next();
      if (!event) continue;
      board_.take(*event, board_row);
      if (auto* ready = std::get_if<ImageReady>(&*event)) images.push_back(std::move(*ready));
      const auto* failed = std::get_if<JobFailed>(&*event);
      if (failed != nullptr && !board_.interrupted()) co_return tl::unexpected(failed->error);
      if (failed == nullptr && !std::holds_alternative<JobDone>(*event)) continue;
      std::ranges::sort(images, {}, &ImageReady::image_index);
      co_return images;
    }
  }

  // The second pass. A picture whose second pass was interrupted stays as it was.
  asio::awaitable<Images> enlarge(std::vector<ImageReady> images) {
    for (std::size_t i = 0; i < images.size() && !board_.interrupted(); ++i) {
      ImageReady& image = images[i];
      GenerateRequest second = co_await offload_slow(
          api_.workers, options_.user, [&] { return second_pass(job_, image.image, image.seed); });
      auto larger = co_await run(std::move(second), n_ + i);
      if (!larger) co_return tl::unexpected(larger.error());
      if (!larger->empty()) image = std::move(larger->front());
    }
    co_return images;
  }

  Recipe recipe() const { return {job_.job.request.generate, job_.job.model.info, api_.options.version}; }

  // Each picture as a file in base64, put back into the one of which a part was repainted.
  asio::awaitable<Result<json::array>> encode(std::vector<ImageReady>& images) {
    const Recipe recipe = this->recipe();
    json::array encoded;
    for (ImageReady& image : images) {
      const auto text = co_await offload(api_.workers, options_.user, [&]() -> Result<json::string> {
        if (job_.repaint) image.image = put_back(*job_.repaint, image.image);
        if (!job_.request.send_images) return json::string();
        TRY(const Picture picture, encode_picture(api_, job_.job.request, recipe, image.seed, image.image));
        return json::string(to_base64(*picture.bytes));
      });
      if (!text) co_return tl::unexpected(text.error());
      if (job_.request.send_images) encoded.emplace_back(*text);
    }
    co_return encoded;
  }

  const Api& api_;
  http::Exchange& exchange_;
  SdJob job_;
  SubmitOptions options_;
  const std::size_t n_;
  SdBoard::Run board_;
};

using Parse = Result<SdJob> (*)(const Api&, const http::Request&);

asio::awaitable<void> generate(const Api& api, http::Exchange& exchange, Parse parse) {
  // Pictures as text, decoding and fitting them: up to a second for a large photograph.
  const http::Request& request = exchange.request();
  const auto read = [&]() -> Result<SdJob> {
    TRY(SdJob parsed, parse(api, request));
    hold_only(request, bytes_of(parsed));
    TRY_VOID(hold(request, result_bytes(parsed), "its pictures"));
    return parsed;
  };
  const Lane lane = request.body.size() <= kQuickBytes ? Lane::quick : Lane::slow;
  auto job = co_await offload_to(lane, api.workers, user_of(request), read);
  if (!job) co_return co_await send_error(exchange, job.error());
  static_cast<void>(exchange.take_body());  // all that counts of it has been read
  auto options = submit_options(api, exchange.request());
  if (!options) co_return co_await send_error(exchange, options.error());
  Generation generation(api, exchange, *std::move(job), *std::move(options));
  co_await generation.answer();
}

}  // namespace

asio::awaitable<void> sd_text_to_image(const Api& api, http::Exchange& exchange) {
  return generate(api, exchange, read_sd_text_job);
}
asio::awaitable<void> sd_image_to_image(const Api& api, http::Exchange& exchange) {
  return generate(api, exchange, read_sd_image_job);
}

}  // namespace diffused::api
