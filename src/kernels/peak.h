// The ceiling of this machine: how fast its multipliers run when nothing else is in the way.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace diffused::kernels {

// What a processor multiplies with.
enum class Multiplier : std::uint8_t {
  float32_vectors,   // AVX-512
  bfloat16_vectors,  // AVX512-BF16
  byte_vectors,      // AVX512-VNNI
  bfloat16_tiles,    // AMX, 16 x 16 sums at a time
  byte_tiles,
};

// Those that this processor has. Any thread.
std::span<const Multiplier> multipliers();

// What the kernels multiply float32, bfloat16 or bytes with here, one of multipliers(), of which there are
// some.
Multiplier multiplier_of(c10::ScalarType dtype);

std::string_view name_of(Multiplier multiplier);

// Operations per second (two for each multiply-add) of all of ATen's threads together, from registers alone,
// measured for about `seconds`; of a multiplier of multipliers(). Other work on the machine lowers it:
// measure beside what it is compared with. Where two threads reach hardly more than one, they share a core's
// multiplier.
double measure_peak_flops(Multiplier multiplier, double seconds);

}  // namespace diffused::kernels
