// How a checkpoint that does not fit its network is reported.
#pragma once

#include <stdexcept>
#include <utility>

#include "base/result.h"

namespace diffused::weights {

// Thrown while a network is built from a checkpoint that does not fit it: a missing or misshapen tensor.
// Caught at the loading border (pipelines/loading_border.h), where it becomes its Error. The message is one
// line that names folder, file, tensor, expected and found.
struct LoadError : std::runtime_error {
  explicit LoadError(Error e) : std::runtime_error(e.message), error(std::move(e)) {}
  Error error;
};

}  // namespace diffused::weights
