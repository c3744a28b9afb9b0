// A stream's way into attention.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/rotary.h"
#include "weights/scope.h"

namespace diffused::nn {

// Queries, keys and values, each [B, H, L, head_dim].
struct Heads {
  at::Tensor q, k, v;
};

struct QkvForm {
  std::int64_t heads = 0, head_dim = 0;
  std::optional<double> rms_norm_eps = std::nullopt;  // of the norms of q and k; empty: no norms
  LinearFormat format = LinearFormat::plain;
  bool bias = true;

  std::int64_t size() const { return heads * head_dim; }
};

// The tensors' names; those of the norms are asked for only where there are norms.
struct QkvNames {
  std::array<std::string_view, 3> linears;  // of q, k, v
  std::string_view norm_q, norm_k;
};
inline constexpr QkvNames kQkvNames{{"to_q", "to_k", "to_v"}, "norm_q", "norm_k"};
inline constexpr QkvNames kAddedQkvNames{
    {"add_q_proj", "add_k_proj", "add_v_proj"}, "norm_added_q", "norm_added_k"};

// q, k, v by one linear, [heads * head_dim] to the same; then the RMS norms of q and k within
// each head.
class QkvProjection {
 public:
  QkvProjection(const weights::Scope& scope, const QkvForm& form, const QkvNames& names);

  Heads operator()(const at::Tensor& x) const;  // [B, L, heads * head_dim] → heads
  // The same with q and k turned after their norms, which there must be.
  Heads operator()(const at::Tensor& x, const Rotation& rotation) const;

 private:
  Heads split(const at::Tensor& x) const;

  std::int64_t heads_;
  Linear qkv_;
  std::optional<RmsNorm> norm_q_, norm_k_;
};

}  // namespace diffused::nn
