#include "kernels/peak.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <chrono>

#include "kernels/avx512.h"
#include "kernels/processor.h"

namespace diffused::kernels {
namespace {

using kernels::kLanes;

constexpr int kChains = 12;  // independent sums: more than the latency of a multiply-add times two a cycle
constexpr std::int64_t kTurns = 400000;  // a millisecond: long beside the start of a parallel region

// kTurns * kChains multiply-adds on registers.
template <typename Number>
DIFFUSED_AVX512 void multiply_registers() {
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
}

}  // namespace

double measure_peak_flops(at::ScalarType dtype, double seconds) {
  if (!has_avx512_for(dtype)) return 0;
  using Clock = std::chrono::steady_clock;
  const int threads = at::get_num_threads();
  double flops = 0;
  std::atomic<std::int64_t> products = 0;  // of a lane's multiply-add
  const auto begin = Clock::now();
  std::chrono::duration<double> passed{};
  while (passed.count() < seconds) {
    at::parallel_for(0, threads, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        kernels::with_multiplied_number(dtype, [&]<typename Number>() {
          multiply_registers<Number>();
          products = Number::kUnitValues / Number::kTurns;
        });
      }
    });
    flops += 2.0 * products * kLanes * kChains * kTurns * threads;
    passed = Clock::now() - begin;
  }
  return flops / passed.count();
}

}  // namespace diffused::kernels
