#include "kernels/processor.h"

#include <ATen/Version.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

namespace diffused::kernels {
namespace {

bool is_allowed_amx() {
  const char* const limit = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (limit == nullptr) return true;
  constexpr std::array<std::string_view, 3> kThatIncludeIt = {"AMX", "ALL", "DEFAULT"};
  return std::ranges::any_of(kThatIncludeIt, [&](std::string_view word) {
    return std::string_view(limit).find(word) != std::string_view::npos;
  });
}

// The registers are large, so Linux keeps them from a process until it asks.
bool is_given_tile_registers() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM of Linux 5.16
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool has_avx512_for(at::ScalarType dtype) {
  const bool has_avx512 = at::get_cpu_capability() == "AVX512" && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (dtype == at::kFloat) return has_avx512;
  return dtype == at::kBFloat16 && has_avx512 && __builtin_cpu_supports("avx512bf16");
}

bool has_avx512_vnni() { return has_avx512_for(at::kFloat) && __builtin_cpu_supports("avx512vnni"); }

bool multiplies_bfloat16_as_float32() {
  static const bool multiplies = __builtin_cpu_is("intel") && has_avx512_for(at::kBFloat16) && !has_amx();
  return multiplies;
}

bool has_amx() {
  static const bool has = has_avx512_for(at::kBFloat16) && has_avx512_vnni() &&
                          __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
                          __builtin_cpu_supports("amx-int8") && is_allowed_amx() && is_given_tile_registers();
  return has;
}

}  // namespace diffused::kernels
