// The one seam for attention: every network calls this function, every faster kernel goes behind it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace diffused::nn {

struct AttentionOptions {
  std::optional<double> scale = std::nullopt;  // of the scores; 1 / sqrt(D) when empty
  bool causal = false;                         // query i sees keys 0…i; not together with `bias`
  at::Tensor bias =
      {};  // added to the scores: broadcasts to [B, H, Lq, Lk], any float dtype; may be undefined
};

// softmax(scale * q kᵀ + bias) v, head by head. q: [B, H, Lq, D]; k, v: [B, H, Lk, D], any strides.
// Returns [B, H, Lq, D] in q's dtype, any strides; scores and softmax are in float32.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionOptions& options = {});

// [B, L, H * D] → [B, H, L, D], a view.
at::Tensor split_heads(const at::Tensor& x, std::int64_t heads);

// [B, H, L, D] → [B, L, H * D].
at::Tensor merge_heads(const at::Tensor& x);

}  // namespace diffused::nn
