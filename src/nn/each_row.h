// For kernels of ATen whose last bits depend on how many rows they are given: each row by itself. Those of
// bfloat16 all do somewhere: behind them is oneDNN, which chooses by processor and by shape.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <vector>

namespace diffused::nn {

// f of each row of x, [1, ..] → [1, ..], concatenated. On other devices, and for one row, f(x).
template <typename F>
at::Tensor each_row(const at::Tensor& x, const F& f) {
  if (!x.is_cpu() || x.size(0) == 1) return f(x);
  std::vector<at::Tensor> rows;
  for (const at::Tensor& row : x.split(1)) rows.push_back(f(row));
  return at::cat(rows);
}

// Whether ATen's matrix products of x [B, ..] are to be taken row by row.
inline bool needs_each_row(const at::Tensor& x) {
  return x.is_cpu() && x.size(0) > 1 && x.scalar_type() == at::kBFloat16;
}

}  // namespace diffused::nn
