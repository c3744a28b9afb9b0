// What a safetensors header says of its tensors, and how much it may say.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace diffused::weights {

inline constexpr std::uint64_t kHeaderBytesMax = 100'000'000;  // the limit of the safetensors library itself
inline constexpr std::size_t kTensorsMax = 100'000;
inline constexpr std::size_t kRankMax = 8;
inline constexpr std::int64_t kDimensionMax = std::int64_t{1} << 31;

// One tensor of one file.
struct Entry {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // bytes, from the start of the file
};

struct Header {
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;  // what whoever wrote the file had to say
};

// The dtype's name in a safetensors file ("BF16"); "?" for one that such a file cannot hold.
std::string_view dtype_name(at::ScalarType dtype);

}  // namespace diffused::weights
