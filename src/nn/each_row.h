// For kernels of ATen whose last bits depend on how many rows they are given: each row by itself. Matrix
// products all do somewhere: behind them are oneDNN and MKL, which choose by processor and by shape.
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

}  // namespace diffused::nn
