// The rows of a tensor, wherever they lie: what a kernel that works row by row sees of its arguments.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace diffused::kernels {

// A tensor of at most four dimensions whose last one has stride 1: x itself, or a copy.
inline at::Tensor with_whole_rows(const at::Tensor& x) {
  const at::Tensor flat = x.dim() > 4 ? x.flatten(0, -4) : x;
  return flat.stride(-1) == 1 ? flat : flat.contiguous();
}

// Rows 0…count - 1 of a tensor [.., n] made by with_whole_rows(), in order of their indices.
template <typename Value>
struct Rows {
  Rows() = default;
  explicit Rows(const at::Tensor& x) : data(static_cast<Value*>(x.data_ptr())) {
    int to = 2;
    for (std::int64_t d = x.dim() - 2; d >= 0; --d) {
      if (to < 2 && x.stride(d) == sizes[to + 1] * strides[to + 1]) {
        sizes[to + 1] *= x.size(d);  // they go on where those before them end
        continue;
      }
      sizes[to] = x.size(d);
      strides[to--] = x.stride(d);
    }
    is_even = sizes[0] * sizes[1] == 1;
  }
  std::int64_t count() const { return sizes[0] * sizes[1] * sizes[2]; }
  Value* operator[](std::int64_t i) const {
    if (is_even) return data + i * strides[2];
    return data + i / (sizes[1] * sizes[2]) * strides[0] + i / sizes[2] % sizes[1] * strides[1] +
           i % sizes[2] * strides[2];
  }
  // How many rows, from row i on, lie `stride()` values apart.
  std::int64_t evenly_from(std::int64_t i) const { return sizes[2] - i % sizes[2]; }
  std::int64_t stride() const { return strides[2]; }

  Value* data = nullptr;
  std::int64_t sizes[3] = {1, 1, 1}, strides[3] = {0, 0, 0};
  bool is_even = true;  // all rows lie stride() apart
};

}  // namespace diffused::kernels
