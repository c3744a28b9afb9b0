// The JSON of a safetensors header, read as a stream: nothing is kept but the entries, and a key given twice
// is seen (a document tree would silently keep one of the two).
#pragma once

#include <string_view>

#include "base/result.h"
#include "weights/tensor_entry.h"

namespace diffused::weights {

// Entries in the order of the text, offsets as written (from the end of the header), nothing checked but the
// form: known dtypes, numbers of the right kind, at most kTensorsMax tensors and kRankMax dimensions, no name
// twice.
Result<Header> parse_header_json(std::string_view json);

}  // namespace diffused::weights
