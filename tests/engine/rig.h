// The engine without its thread: the real queue, batcher and device loop on a fake pipeline, turned by hand
// under a fake clock. What is to happen at a time is put on the agenda and happens then, also in the middle
// of a unit.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/collector.h"
#include "engine/device_loop.h"
#include "engine/queue.h"
#include "support/fake_clock.h"
#include "support/fake_pipeline.h"

namespace diffused::test {

inline GenerateRequest make_request(std::string prompt, std::vector<std::uint64_t> seeds = {1}, int side = 64,
                                    int steps = 4) {
  GenerateRequest request;
  request.model = "fake";
  request.prompt = std::move(prompt);
  request.seeds = std::move(seeds);
  request.width = request.height = side;
  request.num_inference_steps = steps;
  return request;
}

class Rig {
 public:
  struct Submitted {
    Result<engine::Place> place;
    std::shared_ptr<std::atomic<bool>> cancelled;
    std::shared_ptr<std::atomic<std::size_t>> finish_below;
  };

  explicit Rig(FakeOptions fake = {}, engine::EngineOptions options = {},
               engine::EngineObserver* observer = nullptr)
      : pipeline(std::make_shared<FakePipeline>(with_pass(std::move(fake)))),
        queue(options, 1),
        loop(options, queue, clock, observer ? *observer : silent_) {}
  // Nothing that was accepted is left without a reply, nor any row alive.
  ~Rig() {
    queue.close(clock.now());
    run();
    CHECK(pipeline->live_rows() == 0);
  }

  Submitted submit(const GenerateRequest& request, SubmitOptions options, EventSink sink) {
    auto cancelled = std::make_shared<std::atomic<bool>>(false);
    auto finish_below = std::make_shared<std::atomic<std::size_t>>(0);
    GenerateRequest resolved = *pipeline->resolve(request);
    const double cost = pipeline->cost_flops(resolved);
    engine::JobTicket made{"job", 0,           std::move(resolved), std::move(options), std::move(sink),
                           cost,  clock.now(), cancelled,           pipeline,           finish_below};
    return {queue.push(std::move(made), clock.now()), cancelled, finish_below};
  }
  void at(double seconds, std::function<void()> what) { agenda_.emplace(seconds, std::move(what)); }

  // Turns until nothing is left to do, on the agenda or in the queue.
  void run() {
    for (;;) {
      while (loop.turn()) {
      }
      CHECK(queue.counts().jobs_waiting + queue.counts().jobs_running == 0);  // idle only with nothing to do
      if (agenda_.empty()) return;
      pass_until(agenda_.begin()->first);
    }
  }

  FakeClock clock;
  std::shared_ptr<FakePipeline> pipeline;
  engine::Queue queue;
  engine::DeviceLoop loop;

 private:
  FakeOptions with_pass(FakeOptions fake) {
    fake.pass = [this](double seconds) { pass_until(clock.seconds() + seconds); };
    return fake;
  }
  void pass_until(double end) {
    while (!agenda_.empty() && agenda_.begin()->first <= end) {
      auto entry = agenda_.extract(agenda_.begin());
      clock.advance(std::max(0.0, entry.key() - clock.seconds()));
      entry.mapped()();
    }
    clock.advance(std::max(0.0, end - clock.seconds()));
  }

  engine::EngineObserver silent_;
  std::multimap<double, std::function<void()>> agenda_;
};

}  // namespace diffused::test
