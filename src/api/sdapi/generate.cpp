#include <fmt/format.h>

#include <algorithm>

#include "api/endpoints.h"
#include "api/errors.h"
#include "api/memory.h"
#include "api/openai/answer.h"
#include "api/sdapi/board.h"
#include "api/sdapi/sd_info.h"
#include "api/sdapi/sd_job.h"
#include "async/offload.h"
#include "async/submitted_job.h"
#include "base/json_text.h"
#include "base/pages.h"
#include "image/base64.h"

namespace diffused::api {
namespace {

constexpr int kPreviews = 10;  // for those who ask how it is getting on

// A job of a generation: its picture i is the generation's number first + i * stride.
struct Piece {
  GenerateRequest request;
  std::size_t first = 0, stride = 1;

  // How many of its pictures are below a number of the generation's.
  std::size_t below(std::size_t images) const {
    return images <= first ? 0 : std::min((images - first - 1) / stride + 1, request.n());
  }
};

// The jobs of a generation's first pass: one, or one for each picture that is started from.
std::vector<Piece> pieces_of(const SdJob& job) {
  const GenerateRequest& whole = job.job.request.generate;
  const std::size_t starts = std::max<std::size_t>(job.starts.size(), 1);
  std::vector<Piece> pieces;
  for (std::size_t first = 0; first < starts; ++first) {
    pieces.push_back({whole, first, starts});
    Piece& piece = pieces.back();
    piece.request.seeds.clear();
    piece.request.variation_seeds.clear();
    for (std::size_t i = first; i < whole.n(); i += starts) {
      piece.request.seeds.push_back(whole.seeds[i]);
      if (!whole.variation_seeds.empty()) piece.request.variation_seeds.push_back(whole.variation_seeds[i]);
    }
    if (job.starts.empty()) continue;
    piece.request.init_image = job.starts[first].picture;
    piece.request.mask = job.starts[first].mask;
  }
  return pieces;
}

// What a picture's text says: of all, and which variation it is.
Recipe recipe_of(const Recipe& all, std::size_t image) {
  Recipe recipe = all;
  const GenerateRequest& request = all.request;
  if (request.variation_seeds.empty()) return recipe;
  const ExtraParameters variation{
      {"Variation seed", std::to_string(request.variation_seeds[image])},
      {"Variation seed strength", fmt::format("{}", *request.variation_strength)}};
  recipe.extra.insert(recipe.extra.begin(), variation.begin(), variation.end());
  return recipe;
}

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
               static_cast<std::size_t>(job_.request.batch_size), api.clock.lifetime_seconds()) {
    options_.step_events = true;
    options_.previews = kPreviews;
  }

  asio::awaitable<void> answer() {
    std::vector<Piece> pieces = pieces_of(job_);
    auto images = co_await run(std::move(pieces));
    if (images && job_.request.enable_hr) images = co_await enlarge(*std::move(images));
    if (!images)
      co_return co_await send_error(exchange_, as_spelled(images.error(), job_.request.image.spelling));
    auto encoded = co_await encode(*images);
    if (!encoded) co_return co_await send_error(exchange_, encoded.error());
    const Recipe recipe = this->recipe();
    std::vector<SdPicture> pictures;
    for (const ImageReady& image : *images)
      pictures.push_back({&image, recipe_of(recipe, image.image_index)});
    const json::object info = sd_info(recipe, job_.request, pictures, api_.clock.unix_seconds());
    json::object body{
        {"images", *std::move(encoded)}, {"parameters", job_.parameters}, {"info", json_text(info)}};
    if (!job_.warnings.empty()) body["warnings"] = json::array(job_.warnings.begin(), job_.warnings.end());
    const json::value answer(std::move(body));
    co_await send_large_json(api_, exchange_, answer);
  }

 private:
  using Images = Result<std::vector<ImageReady>>;
  using Jobs = std::vector<std::shared_ptr<SubmittedJob>>;

  // The pieces' pictures by the generation's numbers, though they are finished in any order; those that there
  // are when it is interrupted.
  asio::awaitable<Images> run(std::vector<Piece> pieces) {
    Jobs jobs;
    for (const Piece& piece : pieces) {
      auto submitted =
          SubmittedJob::submit(api_.dispatcher, piece.request, options_, exchange_.executor(), api_.clock);
      if (!submitted) co_return tl::unexpected(submitted.error());
      jobs.emplace_back(*std::move(submitted));
      exchange_.note_job(jobs.back()->ticket().id());
    }
    let_finish(pieces, jobs);
    std::vector<ImageReady> images;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const auto taken = co_await take(pieces[i], *jobs[i], images);
      if (!taken) co_return tl::unexpected(taken.error());
    }
    std::ranges::sort(images, {}, &ImageReady::image_index);
    co_return images;
  }

  // Lets the board end the jobs early, from any thread, for as long as they are there.
  void let_finish(const std::vector<Piece>& pieces, const Jobs& jobs) {
    std::vector<std::pair<Piece, std::weak_ptr<SubmittedJob>>> running;
    for (std::size_t i = 0; i < jobs.size(); ++i) running.emplace_back(pieces[i], jobs[i]);
    board_.set_finish([executor = exchange_.executor(), running = std::move(running)](std::size_t images) {
      asio::post(executor, [running, images] {
        for (const auto& [piece, job] : running)
          if (const auto there = job.lock()) there->finish_early(piece.below(images));
      });
    });
  }

  // Waits for a job's end.
  asio::awaitable<Result<void>> take(const Piece& piece, SubmittedJob& job, std::vector<ImageReady>& images) {
    while (true) {
      std::optional<Event> event = co_await job.next();
      if (!event) continue;
      board_.take(*event, piece.first, piece.stride);
      if (auto* ready = std::get_if<ImageReady>(&*event)) {
        ready->image_index = piece.first + ready->image_index * piece.stride;
        images.push_back(std::move(*ready));
      }
      const auto* failed = std::get_if<JobFailed>(&*event);
      if (failed != nullptr && !board_.interrupted()) co_return tl::unexpected(failed->error);
      if (failed != nullptr || std::holds_alternative<JobDone>(*event)) co_return Result<void>();
    }
  }

  // The second pass. A picture whose second pass was left out stays as it was.
  asio::awaitable<Images> enlarge(std::vector<ImageReady> images) {
    for (ImageReady& image : images) {
      const std::size_t number = n_ + image.image_index;
      if (board_.interrupted() || board_.skipped(number)) continue;
      ImageReady start{image.image_index, image.seed, image.image};
      if (job_.upscaler.network) {
        auto larger = co_await run_upscaler(api_, exchange_, *job_.upscaler.network, std::move(start.image),
                                            job_.enlarged);
        if (!larger) co_return tl::unexpected(larger.error());
        start.image = *std::move(larger);
        if (board_.interrupted() || board_.skipped(number)) continue;
      }
      std::vector<Piece> second(1);
      second[0].first = number;
      second[0].request =
          co_await offload_slow(api_.workers, options_.user, [&] { return second_pass(job_, start); });
      auto larger = co_await run(std::move(second));
      if (!larger) co_return tl::unexpected(larger.error());
      if (!larger->empty()) image.image = std::move(larger->front().image);
    }
    co_return images;
  }

  // What the pictures were made from: what is said of all of them.
  Recipe recipe() const {
    return {job_.job.request.generate, job_.job.model.info, api_.options.version, job_.extra};
  }

  // Each picture as a file in base64, put back into the one of which a part was repainted.
  asio::awaitable<Result<json::array>> encode(std::vector<ImageReady>& images) {
    const Recipe recipe = this->recipe();
    json::array encoded;
    for (ImageReady& image : images) {
      const auto text = co_await offload(api_.workers, options_.user, [&]() -> Result<json::string> {
        if (const Repaint* const repaint = repaint_of(image)) image.image = put_back(*repaint, image.image);
        if (!job_.request.send_images) return json::string();
        TRY(const Picture picture,
            encode_picture(api_, job_.job.request, recipe_of(recipe, image.image_index), image.seed,
                           image.image));
        return json::string(to_base64(*picture.bytes));
      });
      if (!text) co_return tl::unexpected(text.error());
      if (job_.request.send_images) encoded.emplace_back(*text);
    }
    co_return encoded;
  }

  // Null where no part of a picture is repainted.
  const Repaint* repaint_of(const ImageReady& image) const {
    if (job_.starts.empty()) return nullptr;
    const SdStart& start = job_.starts[image.image_index % job_.starts.size()];
    return start.repaint ? &*start.repaint : nullptr;
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
  drop_text(exchange.take_body());  // all that counts of it has been read
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
