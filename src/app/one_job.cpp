#include "app/one_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "engine/local_dispatcher.h"

namespace diffused::app {
namespace {

// Collects a job's events on the calling thread's side.
class Outcome {
 public:
  Outcome(std::size_t images, bool draw_bar) : images_(images), draw_bar_(draw_bar) {}

  void take(Event event) {
    const std::lock_guard lock(mutex_);
    if (const auto* step = std::get_if<StepDone>(&event)) {
      draw(*step);
    } else if (auto* image = std::get_if<ImageReady>(&event)) {
      images_[image->image_index] = std::move(*image);
    } else if (auto* failed = std::get_if<JobFailed>(&event)) {
      end_ = tl::unexpected<Error>(std::move(failed->error));
    } else if (const auto* done = std::get_if<JobDone>(&event)) {
      end_ = done->timings;
    }
    if (end_) ended_.notify_one();
  }

  Result<Timings> wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return end_.has_value(); });
    if (draw_bar_) fmt::print(stderr, "\n");
    return *end_;
  }

  std::vector<ImageReady> take_images() { return std::move(images_); }

 private:
  void draw(const StepDone& step) {
    if (!draw_bar_) return;
    constexpr int kWidth = 40;
    steps_done_ = std::max(steps_done_, step.step);
    const int filled = kWidth * steps_done_ / std::max(1, step.steps);
    fmt::print(stderr, "\r{:>3}% [{:-<{}}] step {}/{}", 100 * steps_done_ / std::max(1, step.steps),
               std::string(filled, '#'), kWidth, steps_done_, step.steps);
    std::fflush(stderr);
  }

  std::mutex mutex_;
  std::condition_variable ended_;
  std::vector<ImageReady> images_;
  std::optional<Result<Timings>> end_;
  const bool draw_bar_;
  int steps_done_ = 0;
};

}  // namespace

Result<Made> make_pictures(const LoadedModel& model, GenerateRequest request, const ModelOptions& options,
                           bool draw_bar) {
  const SystemClock clock;
  engine::EngineObserver nobody;
  engine::EngineOptions engine_options;
  engine_options.prepare_device_thread = [&options] { prepare_device_thread(options); };
  request.model = model.name;
  Outcome outcome(request.n(), draw_bar);
  engine::LocalDispatcher dispatcher({{model.name, {}, clock.unix_seconds(), model.pipeline}}, engine_options,
                                     clock, nobody);
  SubmitOptions submit;
  submit.step_events = true;
  TRY(const Ticket ticket, dispatcher.submit(std::move(request), std::move(submit),
                                             [&outcome](Event event) { outcome.take(std::move(event)); }));
  TRY(const Timings timings, outcome.wait());
  return Made{outcome.take_images(), timings};
}

// "512x768" into width and height.
Result<void> parse_size(const std::string& text, GenerateRequest& request) {
  if (text.empty()) return {};
  int width = 0, height = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%6dx%6d%c", &width, &height, &rest) != 2 || width <= 0 || height <= 0)
    return fail(ErrorCode::invalid_argument,
                fmt::format("--size is '{}', but WIDTHxHEIGHT is wanted, such as 512x512", text));
  request.width = request.width.value_or(width);
  request.height = request.height.value_or(height);
  return {};
}

}  // namespace diffused::app
