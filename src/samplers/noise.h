// Seeded noise: the same numbers as torch.Generator("cpu").manual_seed(seed) gives in Python.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace diffused::samplers {

// A CPU generator at the start of this seed's stream. One per picture, so that a picture depends on neither
// the batch nor the machine's accelerator.
at::Generator seeded_generator(std::uint64_t seed);

// Normal noise on the CPU, drawn in `dtype`: a bf16 draw is another stream, not the rounded float32 one.
at::Tensor draw_noise(at::Generator& generator, at::IntArrayRef shape, at::ScalarType dtype);

}  // namespace diffused::samplers
