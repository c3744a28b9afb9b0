// What is found under the name of a safetensors file, or inside one, and is no weights that are read here.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace diffused::weights {

// By its first bytes: a pickle, GGUF, a page of a server. Nothing for what may be a damaged safetensors file.
// The message says what the file is and not in which path it lies. Pure.
std::optional<Error> other_kind(std::string_view file);

// By a tensor's name: the tool whose packed weights it belongs to, such as "bitsandbytes (4 bits, nf4)";
// empty for plain tensors. Pure.
std::string_view packed_by(std::string_view tensor);

}  // namespace diffused::weights
