#include "kernels/peak.h"

#include <ATen/Parallel.h>

#include <chrono>
#include <vector>

#include "kernels/avx512.h"
#include "kernels/processor.h"
#include "kernels/tiles_amx.h"

namespace diffused::kernels {
namespace {

constexpr int kChains = 12;  // independent sums: more than the latency of a multiply-add times two a cycle
constexpr std::int64_t kTurns = 400000;     // a millisecond: long beside the start of a parallel region
constexpr std::int64_t kTileTurns = 50000;  // as long

// kTurns * kChains multiply-adds on registers. Returns the operations.
template <typename Number>
DIFFUSED_AVX512 double multiply_registers() {
  __m512 sums[kChains];
#pragma GCC unroll 12
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  const __m512i one = _mm512_set1_epi32(0x3f803f80);  // 1.0 as bfloat16 in both halves; about 1.0 as float32
  for (std::int64_t i = 0; i < kTurns; ++i) {
#pragma GCC unroll 12
    for (__m512& sum : sums) {
      sum = Number::multiply_add(sum, one, one);
      asm volatile("" : "+v"(sum));  // keeps the compiler from folding the turns into one
    }
  }
  return 2.0 * Number::kUnitValues * kLanes * kChains * kTurns;
}

// Four products a turn, as in tiles_amx.h, of zeros.
template <typename Number>
double multiply_tiles() {
  TileRegisters registers;
  registers.fit(kRunRows, kRunRows);
  for (std::int64_t i = 0; i < kTileTurns; ++i) {
    add_tile_product<Number, 0, 4, 6>();
    add_tile_product<Number, 1, 4, 7>();
    add_tile_product<Number, 2, 5, 6>();
    add_tile_product<Number, 3, 5, 7>();
  }
  return 2.0 * 4 * kRunRows * kLanes * kStepUnits * Number::kUnitValues * kTileTurns;
}

double multiply(Multiplier multiplier) {
  switch (multiplier) {
    case Multiplier::float32_vectors:
      return multiply_registers<Float32>();
    case Multiplier::bfloat16_vectors:
      return multiply_registers<Bfloat16>();
    case Multiplier::byte_vectors:
      return multiply_registers<Bytes>();
    case Multiplier::bfloat16_tiles:
      return multiply_tiles<Bfloat16>();
    case Multiplier::byte_tiles:
      return multiply_tiles<Bytes>();
  }
  return 0;
}

}  // namespace

std::span<const Multiplier> multipliers() {
  static const std::vector<Multiplier> all = [] {
    std::vector<Multiplier> found;
    if (has_avx512_for(at::kFloat)) found.push_back(Multiplier::float32_vectors);
    if (has_avx512_for(at::kBFloat16)) found.push_back(Multiplier::bfloat16_vectors);
    if (has_avx512_vnni()) found.push_back(Multiplier::byte_vectors);
    if (has_amx()) found.insert(found.end(), {Multiplier::bfloat16_tiles, Multiplier::byte_tiles});
    return found;
  }();
  return all;
}

Multiplier multiplier_of(c10::ScalarType dtype) {
  if (dtype == at::kByte) return has_amx() ? Multiplier::byte_tiles : Multiplier::byte_vectors;
  if (dtype == at::kFloat || multiplies_bfloat16_as_float32()) return Multiplier::float32_vectors;
  return has_amx() ? Multiplier::bfloat16_tiles : Multiplier::bfloat16_vectors;
}

std::string_view name_of(Multiplier multiplier) {
  switch (multiplier) {
    case Multiplier::float32_vectors:
      return "float32 vectors";
    case Multiplier::bfloat16_vectors:
      return "bfloat16 vectors";
    case Multiplier::byte_vectors:
      return "byte vectors";
    case Multiplier::bfloat16_tiles:
      return "bfloat16 tiles";
    case Multiplier::byte_tiles:
      return "byte tiles";
  }
  return {};
}

double measure_peak_flops(Multiplier multiplier, double seconds) {
  using Clock = std::chrono::steady_clock;
  const int threads = at::get_num_threads();
  std::vector<double> done(threads);  // by each thread
  double flops = 0;
  const auto begin = Clock::now();
  std::chrono::duration<double> passed{};
  while (passed.count() < seconds) {
    at::parallel_for(0, threads, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) done[i] = multiply(multiplier);
    });
    for (const double of_thread : done) flops += of_thread;
    passed = Clock::now() - begin;
  }
  return flops / passed.count();
}

}  // namespace diffused::kernels
