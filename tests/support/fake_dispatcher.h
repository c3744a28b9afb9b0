// A Dispatcher without an engine: makes one-coloured pictures at once, or holds a job for the test to drive.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "job/dispatcher.h"

namespace diffused {

// A picture of one colour.
inline Image plain_image(int width, int height, std::uint8_t shade) {
  return {width, height, 3, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * height * 3, shade)};
}

inline PipelineInfo small_model_info() {
  PipelineInfo info;
  info.class_name = "StableDiffusion3Pipeline";
  info.dtype = "fp32";
  info.device = "cpu";
  info.parameters = 12'345;
  info.networks = {{1, 49'380}};
  info.default_width = info.default_height = 64;
  info.size_multiple = 16;
  info.max_side = 1024;
  info.default_steps = 4;
  info.default_guidance_scale = 7.0;
  info.schedulers = {"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"};
  info.loras = {"cute", "ink", "style/ink"};
  info.lora_aliases = {{"Pen and Ink", "style/ink"}};
  info.embeddings = {"<cat-toy>", "ink-wash"};
  info.image_to_image = info.inpaint = info.flow_shift = true;
  return info;
}

class FakeDispatcher final : public Dispatcher {
 public:
  struct Job {
    GenerateRequest request;
    SubmitOptions options;
    EventSink sink;
    std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
    std::shared_ptr<std::atomic<std::size_t>> finish_below = std::make_shared<std::atomic<std::size_t>>(0);
  };

  std::vector<ServedModel> served = {{"demo", {"dall-e-3"}, 1'700'000'000, small_model_info()}};
  // Set: every submit fails with it.
  std::optional<Error> refusal;
  // Set: jobs run up to their pictures and fail with it.
  std::optional<Error> failure;
  // Jobs wait for the test, which calls their sinks.
  bool hold = false;
  std::size_t position = 0;
  // Called after a job was taken.
  std::function<void()> on_submit = [] {};

  std::vector<ServedModel> networks;  // upscalers
  std::set<std::string> remembered;   // names of models that are gone

  std::vector<Job> jobs;  // as submitted

  std::vector<ServedModel> models() const override { return served; }
  std::vector<ServedModel> upscalers() const override { return networks; }
  bool remembers(const std::string& name) const override { return remembered.contains(name); }

  Result<GenerateRequest> resolve(GenerateRequest request) const override {
    if (const auto network = find_named(networks, request.model); network != networks.end()) {
      request.width = request.init_image->width * network->info.enlarges;
      request.height = request.init_image->height * network->info.enlarges;
      return request;
    }
    const auto model = std::find_if(served.begin(), served.end(),
                                    [&](const ServedModel& m) { return m.name == request.model; });
    if (model == served.end()) return fail(ErrorCode::not_found, "no such model", "model", "model_not_found");
    request.width = request.width.value_or(model->info.default_width);
    request.height = request.height.value_or(model->info.default_height);
    request.clip_skip = request.clip_skip.value_or(0);  // as a loaded model does with what it knows
    for (const auto& [side, name] :
         {std::pair{*request.width, "width"}, std::pair{*request.height, "height"}}) {
      if (side % model->info.size_multiple != 0 || side > model->info.max_side)
        return fail(ErrorCode::invalid_argument, "the size does not suit the model", name);
    }
    return request;
  }

  Result<Ticket> submit(GenerateRequest asked, SubmitOptions options, EventSink sink) override {
    if (refusal) return tl::unexpected(*refusal);
    TRY(GenerateRequest request, resolve(std::move(asked)));
    jobs.push_back({std::move(request), std::move(options), std::move(sink)});
    const Job job = jobs.back();
    if (!hold) run(job);
    on_submit();
    return Ticket(
        "job_1", position, 0.25, [cancelled = job.cancelled] { *cancelled = true; },
        [below = job.finish_below](std::size_t pictures) { *below = pictures; });
  }

  // Sends all the events of a job, as an engine would: pictures end in any order, here the last one first.
  void run(const Job& job) const {
    const int steps = job.request.num_inference_steps.value_or(4);
    for (std::size_t i = job.request.n(); i-- > 0;) {
      for (int step = 1; step <= steps; ++step) {
        if (job.options.step_events) job.sink(StepDone{i, step, steps});
        if (step <= job.options.previews) job.sink(PreviewReady{i, step, plain_image(8, 8, 100)});
      }
      if (failure) return job.sink(JobFailed{*failure});
      job.sink(
          ImageReady{i, job.request.seeds[i], plain_image(*job.request.width, *job.request.height, 200)});
    }
    job.sink(JobDone{Timings{0.5, 0.1, 1.0, 0.2, 1.8}});
  }
};

}  // namespace diffused
