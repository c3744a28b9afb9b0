#include "base/ids.h"

#include <sys/random.h>

#include <array>

#include "base/check.h"

namespace diffused {
namespace {

template <std::size_t size>
std::array<unsigned char, size> random_bytes() {
  std::array<unsigned char, size> bytes;
  CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return bytes;
}

}  // namespace

std::string random_id(std::string_view prefix) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string id(prefix);
  for (const unsigned char byte : random_bytes<16>()) {
    id += kDigits[byte >> 4];
    id += kDigits[byte & 15];
  }
  return id;
}

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  for (const unsigned char byte : random_bytes<4>()) seed = seed << 8 | byte;
  return seed;
}

}  // namespace diffused
