#include "kernels/rotation.h"

#include <ATen/ATen.h>

namespace diffused::kernels {

Rotation rotation_by(const at::Tensor& angles) {
  const at::Tensor cos = angles.cos().to(at::kFloat), sin = angles.sin().to(at::kFloat);
  return {.cos = at::stack({cos, cos}, -1).flatten(1),    // [L, D]
          .sin = at::stack({-sin, sin}, -1).flatten(1)};  // [L, D]
}

}  // namespace diffused::kernels
