// SHA-256, for telling whether bytes are the same.
#pragma once

#include <string>
#include <string_view>

namespace diffused::storage {

// Two lower-case hexadecimal digits a byte.
std::string hex(std::string_view bytes);

// 64 lower-case hexadecimal digits. Any thread.
std::string sha256_hex(std::string_view bytes);

}  // namespace diffused::storage
