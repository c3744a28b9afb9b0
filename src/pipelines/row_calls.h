// The network's calls of one step, for rows that share it.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "pipelines/family.h"
#include "pipelines/latent_row.h"

namespace diffused::pipelines {

// Of one row, [1, …].
struct Answer {
  at::Tensor positive;  // to the positive prompt
  at::Tensor guided;    // to all its prompts: what the sampler is given
};

// The next step's answers, one of each row; the rows have equal keys and their conditioning at hand. On the
// CPU an answer does not depend on the other rows. Device thread only.
std::vector<Answer> call_network(const Family& family, std::span<LatentRow* const> rows);

}  // namespace diffused::pipelines
