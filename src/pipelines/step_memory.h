// What a row with a cache (job/step_cache.h) remembers of its steps, and which of them need not be made.
#pragma once

#include <optional>

#include "pipelines/latent_row.h"
#include "pipelines/row_calls.h"
#include "samplers/easy_cache.h"

namespace diffused::pipelines {

// The row's memory once its next step is made, with this answer. Computed before the row moves on.
StepMemory after_step(const LatentRow& row, const Answer& answer);

// The row's next step, when it can be skipped: as samplers::skipped_call, but for the first steps, the last
// one, and those that call the network for other prompts or blocks than the latest that was made. Those are
// made.
std::optional<samplers::SkippedCall> skipped_step(const LatentRow& row);

}  // namespace diffused::pipelines
