// What the processor can do, as far as the kernels care.
#pragma once

#include <c10/core/ScalarType.h>

namespace diffused::kernels {

// Whether our AVX-512 kernels may compute from numbers of this type: float32 needs AVX-512 (F, BW, DQ, VL),
// bfloat16 AVX512-BF16 as well; no other type is taken. ATEN_CPU_CAPABILITY, which limits ATen's own kernels,
// limits these too. Any thread.
bool has_avx512_for(at::ScalarType dtype);

// Whether the processor multiplies bytes (AVX512-VNNI) and our AVX-512 kernels may run. Any thread.
bool has_avx512_vnni();

// Whether products of bfloat16 are faster as float32 multiply-adds: on Intel's processors with AVX512-BF16,
// which do as much of the former in two cycles as of the latter in one (docs/decisions/0019), unless there is
// AMX. Any thread.
bool multiplies_bfloat16_as_float32();

// Whether the kernels may multiply bfloat16 and bytes in AMX tiles: the processor and the system have them,
// and our AVX-512 kernels may run. ONEDNN_MAX_CPU_ISA, which limits oneDNN, limits this too. The first call
// asks the system for the tiles' registers, for the whole process. Any thread.
bool has_amx();

}  // namespace diffused::kernels
