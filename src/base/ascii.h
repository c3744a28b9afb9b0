// ASCII letters, whatever the machine's language. Pure; any thread.
#pragma once

#include <algorithm>
#include <string_view>

namespace diffused {

constexpr char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Whether the texts are equal but for the case of their ASCII letters. Not Boost.Beast's of that name, which
// reads one byte past the end of a text that has other letters (1.81).
constexpr bool iequals(std::string_view one, std::string_view other) {
  return std::ranges::equal(one, other, {}, ascii_lower, ascii_lower);
}

}  // namespace diffused
