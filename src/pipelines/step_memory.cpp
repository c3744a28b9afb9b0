#include "pipelines/step_memory.h"

#include <cmath>

namespace diffused::pipelines {
namespace {

// The picture is laid out in its first steps: this share of them is always made.
constexpr double kShareMade = 0.15;

at::Tensor network_input(const LatentRow& row) {
  return row.sampler->network_input(row.schedule, row.call(), row.latents);
}

bool may_be_skipped(const LatentRow& row) {
  const int first = static_cast<int>(std::ceil(kShareMade * row.steps()));
  return row.cache.mode == kEasyCache && row.step_done >= first && row.step_done < row.steps() - 1 &&
         row.calls() == row.memory.calls;
}

}  // namespace

StepMemory after_step(const LatentRow& row, const Answer& answer) {
  StepMemory memory;
  memory.calls = row.calls();
  if (row.cache.mode == kEasyCache)
    memory.easy = samplers::after_call(row.memory.easy, network_input(row), answer.positive, answer.guided);
  return memory;
}

std::optional<samplers::SkippedCall> skipped_step(const LatentRow& row) {
  if (!may_be_skipped(row)) return std::nullopt;
  return samplers::skipped_call(row.memory.easy, network_input(row), *row.cache.threshold);
}

}  // namespace diffused::pipelines
