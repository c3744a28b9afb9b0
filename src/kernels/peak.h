// The ceiling of this machine: how fast its multipliers run when nothing else is in the way.
#pragma once

#include <c10/core/ScalarType.h>

namespace diffused::kernels {

// Floating-point operations per second of all threads together on products of this type (two for each
// multiply-add), measured for about `seconds`. 0 where our kernels do not take the type (processor.h). Other
// work on the machine lowers it: measure beside what it is compared with.
double measure_peak_flops(at::ScalarType dtype, double seconds);

}  // namespace diffused::kernels
