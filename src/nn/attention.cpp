#include "nn/attention.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/check.h"
#include "base/give_way.h"
#include "kernels/attention_avx512.h"
#include "kernels/self_test.h"

namespace diffused::nn {

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionOptions& options) {
  CHECK(!(options.causal && options.bias.defined()));
  if (q.is_cpu()) give_way();
  const double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3))));
  if (!options.causal && scale > 0 && kernels::attention_takes(q, k, v) && kernels::agree(q.scalar_type())) {
    return kernels::attention(q, k, v, scale, options.bias);
  }
  std::optional<at::Tensor> bias;
  if (options.bias.defined()) bias = options.bias.expand({q.size(0), q.size(1), q.size(2), k.size(2)});
  if (q.is_cpu() && q.size(0) > 1) {
    // Each row by itself: see nn/each_row.h.
    std::vector<at::Tensor> rows;
    for (std::int64_t row = 0; row < q.size(0); ++row) {
      const auto only = [&](const at::Tensor& t) { return t.narrow(0, row, 1); };
      AttentionOptions own = options;
      if (bias) own.bias = only(*bias);
      rows.push_back(attention(only(q), only(k), only(v), own));
    }
    return at::cat(rows);
  }
  return at::scaled_dot_product_attention(q, k, v, bias, /*dropout_p=*/0.0, options.causal, scale);
}

at::Tensor split_heads(const at::Tensor& x, std::int64_t heads) {
  return x.unflatten(-1, {heads, -1}).transpose(1, 2);  // [B, H, L, D]
}

at::Tensor merge_heads(const at::Tensor& x) {
  return x.transpose(1, 2).flatten(2);  // [B, L, H * D]
}

}  // namespace diffused::nn
