// Text that is UTF-8, or is to be. Pure; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace diffused {

// How many bytes at the front of `bytes` are one well-formed character (no overlong forms, no surrogates): 1
// to 4; 0 when none is.
std::size_t utf8_length(std::string_view bytes);

// Whether all of it is well formed.
bool is_utf8(std::string_view bytes);

// The text with U+FFFD in place of each byte that is part of no character.
std::string to_utf8(std::string_view bytes);

}  // namespace diffused
