#include "samplers/noise.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace diffused::samplers {

at::Generator seeded_generator(std::uint64_t seed) { return at::make_generator<at::CPUGeneratorImpl>(seed); }

at::Tensor draw_noise(at::Generator& generator, at::IntArrayRef shape, at::ScalarType dtype) {
  return at::randn(shape, generator, dtype);
}

at::Tensor varied(const at::Tensor& noise, const std::optional<Variation>& variation) {
  if (!variation || variation->strength == 0) return noise;
  constexpr double kSame = 0.9995;  // the mean cosine beyond which the arc is taken for a line
  const double weight = variation->strength;
  at::Generator generator = seeded_generator(variation->seed);
  const at::Tensor low = noise.to(at::kFloat);
  const at::Tensor high = draw_noise(generator, noise.sizes(), noise.scalar_type()).to(at::kFloat);
  const auto unit = [](const at::Tensor& x) { return x / x.norm(2, 2, true); };
  const at::Tensor cosine = (unit(low) * unit(high)).sum(2, true);  // [1, C, 1, W]
  if (cosine.mean().item<double>() > kSame)
    return (low * weight + high * (1 - weight)).to(noise.scalar_type());
  const at::Tensor angle = cosine.acos();
  const at::Tensor mixed = ((angle * (1 - weight)).sin() * low + (angle * weight).sin() * high) / angle.sin();
  return mixed.to(noise.scalar_type());
}

}  // namespace diffused::samplers
