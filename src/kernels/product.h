// What the kernels of product_avx512.h and product_amx.h are asked: all rows of a matrix times a packed one,
// on all threads.
#pragma once

#include "kernels/packed_matrix.h"
#include "kernels/rows.h"

namespace diffused::kernels {

// finish.operator()<kVectors>(sums, row, column) then gets, once for each row and tile, the sums of the
// columns column…column + 16 * kVectors - 1, `const __m512 (&)[kVectors]`; what lies beyond the last is zero.
// finish.expect(row, column) may be called before, and has fetched what will be read and written there.
template <typename Number>
struct Product {
  Rows<typename Number::Left> x;  // each row of packing.units() whole units
  Packing<Number> packing;
  const typename Number::Value* packed;
};

}  // namespace diffused::kernels
