// Seeded noise: the same numbers as torch.Generator("cpu").manual_seed(seed) gives in Python.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace diffused::samplers {

// A CPU generator at the start of this seed's stream. One per picture, so that a picture depends on neither
// the batch nor the machine's accelerator.
at::Generator seeded_generator(std::uint64_t seed);

// Normal noise on the CPU, drawn in `dtype`: a bf16 draw is another stream, not the rounded float32 one.
at::Tensor draw_noise(at::Generator& generator, at::IntArrayRef shape, at::ScalarType dtype);

// A variation of a picture: its first noise is turned towards that of another seed.
struct Variation {
  std::uint64_t seed = 0;
  double strength = 0;  // 0: not at all, 1: all the way
};

// The noise, [1, C, H, W], turned as A1111 does it: each column of each channel by its own angle, along the
// arc between the two (spherical interpolation); noises that are almost the same are mixed the wrong way
// round, as there. Without a variation, and at strength 0, the noise itself.
at::Tensor varied(const at::Tensor& noise, const std::optional<Variation>& variation);

}  // namespace diffused::samplers
