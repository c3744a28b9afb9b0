// From ids, pixels and timesteps to vectors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "nn/linear.h"
#include "weights/scope.h"

namespace diffused::nn {

// A table of vectors.
class Embedding {
 public:
  // Reads `weight` [count, size].
  Embedding(const weights::Scope& scope, std::int64_t count, std::int64_t size);
  at::Tensor operator()(const at::Tensor& ids) const;  // int64 [..] → [.., size]

 private:
  at::Tensor weight_;
};

// [cos(t f_i), sin(t f_i)] with f_i = 10000^(-i / (size / 2)), all in float32 (the sinusoid of arXiv
// 2006.11239 with the cosines first). t: [R] float32; size even; the angles are multiplied by `scale` last.
// Returns [R, size] float32.
at::Tensor timestep_sinusoid(const at::Tensor& t, std::int64_t size, double scale = 1);

// Two linears with SiLU between, `linear_1` [size, in] and `linear_2` [size, size].
class TwoLayerEmbedding {
 public:
  TwoLayerEmbedding(const weights::Scope& scope, std::int64_t in, std::int64_t size, bool bias = true);
  at::Tensor operator()(const at::Tensor& x) const;  // [R, in] → [R, size]

 private:
  Linear linear_1_;
  Linear linear_2_;
};

// The sum of a timestep's and a pooled text's embedding: `timestep_embedder`, `text_embedder` (Diffusers'
// CombinedTimestepTextProjEmbeddings); with guidance, of a guidance scale's too: `guidance_embedder`
// (CombinedTimestepGuidanceTextProjEmbeddings).
class ConditioningEmbedding {
 public:
  ConditioningEmbedding(const weights::Scope& scope, std::int64_t pooled_size, std::int64_t size,
                        bool guidance = false);
  // timesteps: [R] float32; pooled: [R, pooled_size]; guidance: [R] float32, only with guidance → [R, size]
  // in pooled's dtype.
  at::Tensor operator()(const at::Tensor& timesteps, const at::Tensor& pooled,
                        const at::Tensor& guidance = {}) const;

 private:
  TwoLayerEmbedding timestep_embedder_;
  std::optional<TwoLayerEmbedding> guidance_embedder_;
  TwoLayerEmbedding text_embedder_;
};

struct PatchGrid {
  std::int64_t patch_size = 2;
  std::int64_t in_channels = 16;
  std::int64_t size = 0;      // of a token
  std::int64_t side_max = 0;  // of the position table, in patches
};

// Square patches of a latent image to tokens, each with its place in the centre crop of a table of positions:
// `proj`, a convolution whose stride is its kernel, and `pos_embed` [1, side_max², size] (Diffusers'
// PatchEmbed).
class PatchEmbedding {
 public:
  PatchEmbedding(const weights::Scope& scope, const PatchGrid& grid);
  // [B, in_channels, h, w] → [B, (h / patch) * (w / patch), size], row by row. h and w are multiples of the
  // patch and within the table.
  at::Tensor operator()(const at::Tensor& latents) const;

 private:
  PatchGrid grid_;
  Linear proj_;           // on [channel, row, column] of a patch
  at::Tensor pos_embed_;  // [side_max, side_max, size]
};

}  // namespace diffused::nn
