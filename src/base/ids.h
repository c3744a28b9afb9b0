// Names that cannot be guessed: picture ids, request ids, job ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace diffused {

// 128 bits from the operating system's generator as 32 lower-case hexadecimal digits, after `prefix`:
// "img_3f…". Any thread. Never fails (the kernel's generator is always there).
std::string random_id(std::string_view prefix);

// A seed for a request that names none, 0 to 2^32-1: small enough that every JSON reader keeps it exact.
std::uint64_t random_seed();

}  // namespace diffused
