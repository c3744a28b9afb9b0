#include "nn/kernels/processor.h"

#include <ATen/Version.h>

namespace diffused::nn {

bool has_avx512_for(at::ScalarType dtype) {
  const bool has_avx512 = at::get_cpu_capability() == "AVX512" && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (dtype == at::kFloat) return has_avx512;
  return dtype == at::kBFloat16 && has_avx512 && __builtin_cpu_supports("avx512bf16");
}

bool has_avx512_vnni() { return has_avx512_for(at::kFloat) && __builtin_cpu_supports("avx512vnni"); }

bool has_amx_bf16() { return __builtin_cpu_supports("amx-bf16"); }

}  // namespace diffused::nn
