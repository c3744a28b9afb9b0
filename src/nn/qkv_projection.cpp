#include "nn/qkv_projection.h"

#include <ATen/ATen.h>

#include "base/check.h"
#include "nn/attention.h"

namespace diffused::nn {

QkvProjection::QkvProjection(const weights::Scope& scope, const QkvForm& form, const QkvNames& names)
    : heads_(form.heads),
      qkv_(scope, {names.linears.begin(), names.linears.end()}, form.heads * form.head_dim,
           form.heads * form.head_dim, form.bias, form.format) {
  if (!form.rms_norm_eps) return;
  norm_q_.emplace(scope / names.norm_q, form.head_dim, *form.rms_norm_eps);
  norm_k_.emplace(scope / names.norm_k, form.head_dim, *form.rms_norm_eps);
}

Heads QkvProjection::split(const at::Tensor& x) const {
  const auto qkv = qkv_(x).chunk(3, -1);  // 3 of [B, L, H * head_dim]
  return {split_heads(qkv[0], heads_), split_heads(qkv[1], heads_), split_heads(qkv[2], heads_)};
}

Heads QkvProjection::operator()(const at::Tensor& x) const {
  Heads heads = split(x);
  if (norm_q_) heads.q = (*norm_q_)(heads.q);
  if (norm_k_) heads.k = (*norm_k_)(heads.k);
  return heads;
}

Heads QkvProjection::operator()(const at::Tensor& x, const Rotation& rotation) const {
  CHECK(norm_q_.has_value() && norm_k_.has_value());
  Heads heads = split(x);
  heads.q = norm_q_->rotated(heads.q, rotation);
  heads.k = norm_k_->rotated(heads.k, rotation);
  return heads;
}

}  // namespace diffused::nn
