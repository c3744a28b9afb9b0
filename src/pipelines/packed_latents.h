// Latents as FLUX.1 and Qwen-Image lay them out: a token is a square of 2 by 2 of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "models/token_grid.h"
#include "pipelines/family.h"

namespace diffused::pipelines {

inline constexpr std::int64_t kLatentPatch = 2;

// [1, C, h, w] → [1, tokens, C * patch * patch], and back.
at::Tensor packed(const at::Tensor& latents);
at::Tensor unpacked(const at::Tensor& latents, LatentSize size);

inline std::int64_t packed_tokens(LatentSize size) {
  return size.height * size.width / (kLatentPatch * kLatentPatch);
}

// How the tokens of a call lie, those of the picture that is made first.
std::vector<models::TokenGrid> packed_grids(const NetworkCall& call);

// Noise levels from 1 to 1 / steps in equal parts, shifted by the number of tokens.
samplers::ScheduleRequest packed_schedule(const GenerateRequest& resolved, LatentSize size);

}  // namespace diffused::pipelines
