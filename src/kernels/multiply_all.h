// All rows of a matrix times a packed one, on all threads, in the way that is fastest here.
#pragma once

#include "kernels/product_amx.h"
#include "kernels/product_avx512.h"

namespace diffused::kernels {

// `finish`: see product.h.
template <typename Number, typename Finish>
void multiply_all(const Product<Number>& p, const Finish& finish) {
  if constexpr (kHasTiles<Number>) {
    if (p.packing.for_amx) return multiply_in_tiles(p, finish);
  }
  multiply_in_registers(p, finish);
}

}  // namespace diffused::kernels
