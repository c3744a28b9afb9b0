// The header of a safetensors file: an 8-byte little-endian length, then one JSON object that gives each
// tensor's dtype, shape and place. Everything in it is hostile until checked here.
#pragma once

#include <string_view>

#include "base/result.h"
#include "weights/tensor_entry.h"

namespace diffused::weights {

// Reads and checks the header of a whole file. The entries come back in file order; together they cover
// everything behind the header: sorted, without overlap or hole, each exactly as long as its shape and dtype
// say. Errors: data_loss or unsupported; the message says what is wrong but not in which file. Pure; any
// thread.
Result<Header> read_header(std::string_view file);

}  // namespace diffused::weights
