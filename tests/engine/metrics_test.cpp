#include "engine/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include "engine/rig.h"

namespace diffused::engine {
namespace {

using testing::HasSubstr;

std::string text(const prometheus::Registry& registry) {
  return prometheus::TextSerializer().Serialize(registry.Collect());
}

TEST(EngineMetrics, CountsJobsPicturesStepsAndTimes) {
  prometheus::Registry registry;
  EngineMetrics metrics(registry, {"fake"});
  test::Rig rig({}, {.jobs_waiting_max = 1}, &metrics);
  test::Collector good, cancelled;
  rig.submit(test::make_request("a", {1, 2}, 64, 4), {}, good.sink());
  rig.run();
  *rig.submit(test::make_request("a"), {}, cancelled.sink()).cancelled = true;
  rig.run();

  const std::string all = text(registry);
  for (const char* line :
       {"diffused_jobs_total{model=\"fake\",outcome=\"succeeded\",reason=\"\"} 1",
        "diffused_jobs_total{model=\"fake\",outcome=\"cancelled\",reason=\"cancelled\"} 1",
        "diffused_images_total{model=\"fake\"} 2", "diffused_steps_total{model=\"fake\"} 8",
        "diffused_job_queue_seconds_count{model=\"fake\"} 1",
        "diffused_job_run_seconds_count{model=\"fake\"} 1",
        "diffused_stage_seconds_count{model=\"fake\",stage=\"text_encode\"} 1",
        "diffused_stage_seconds_count{model=\"fake\",stage=\"denoise\"} 1",
        "diffused_stage_seconds_count{model=\"fake\",stage=\"decode\"} 1",
        "diffused_batch_size_bucket{model=\"fake\",le=\"1\"}", "diffused_step_seconds_count{model=\"fake\"}"})
    EXPECT_THAT(all, HasSubstr(line));
}

TEST(EngineMetrics, CountsRefusalsByReason) {
  prometheus::Registry registry;
  EngineMetrics metrics(registry, {"fake"});
  metrics.rejected("fake", "queue_full");
  metrics.rejected("fake", "queue_full");
  EXPECT_THAT(text(registry), HasSubstr("diffused_rejected_total{model=\"fake\",reason=\"queue_full\"} 2"));
}

TEST(EngineMetrics, RefreshShowsTheLoadAndThePromptCache) {
  prometheus::Registry registry;
  EngineMetrics metrics(registry, {"one", "two"});
  Health health;
  health.device.unit_overdue = true;
  health.device.seconds_since_unit = 9;
  health.queue.by_model = {{3, 2, 5, 7.5}, {}};
  health.weight_bytes = 70;
  metrics.refresh(health,
                  {{.prompt_cache_hits = 4, .prompt_cache_misses = 1, .prompt_cache_bytes = 100}, {}});
  metrics.refresh(
      health,
      {{.prompt_cache_hits = 6, .prompt_cache_misses = 1, .prompt_cache_bytes = 90, .steps_skipped = 12},
       {}});
  const std::string all = text(registry);
  for (const char* line :
       {"diffused_requests_waiting{model=\"one\"} 3", "diffused_requests_waiting{model=\"two\"} 0",
        "diffused_requests_running{model=\"one\"} 2", "diffused_queue_cost_seconds{model=\"one\"} 7.5",
        "diffused_engine_up 0", "diffused_engine_last_step_age_seconds 9",
        "diffused_prompt_cache_total{model=\"one\",result=\"hit\"} 6",
        "diffused_prompt_cache_total{model=\"one\",result=\"miss\"} 1",
        "diffused_prompt_cache_bytes{model=\"one\"} 90", "diffused_steps_skipped_total{model=\"one\"} 12",
        "diffused_weight_bytes 70"})
    EXPECT_THAT(all, HasSubstr(line));
}

}  // namespace
}  // namespace diffused::engine
