#include "samplers/noise.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randn.h>

namespace diffused::samplers {

at::Generator seeded_generator(std::uint64_t seed) { return at::make_generator<at::CPUGeneratorImpl>(seed); }

at::Tensor draw_noise(at::Generator& generator, at::IntArrayRef shape, at::ScalarType dtype) {
  return at::randn(shape, generator, dtype);
}

}  // namespace diffused::samplers
