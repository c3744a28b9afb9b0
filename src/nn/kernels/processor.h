// What the processor can do, as far as the kernels care.
#pragma once

#include <c10/core/ScalarType.h>

namespace diffused::nn {

// Whether our AVX-512 kernels may compute from numbers of this type: float32 needs AVX-512 (F, BW, DQ, VL),
// bfloat16 AVX512-BF16 as well; no other type is taken. ATEN_CPU_CAPABILITY, which limits ATen's own kernels,
// limits these too. Any thread.
bool has_avx512_for(at::ScalarType dtype);

// Whether the processor multiplies bytes (AVX512-VNNI) and our AVX-512 kernels may run. Any thread.
bool has_avx512_vnni();

// Whether the processor has AMX tiles for bfloat16: oneDNN then multiplies large matrices faster than any
// AVX-512 kernel could. Any thread.
bool has_amx_bf16();

}  // namespace diffused::nn
