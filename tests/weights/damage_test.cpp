// Damaged files: every one is refused or read as the same tensors; none ends the program.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "support/safetensors.h"
#include "weights/header.h"

namespace diffused::weights {
namespace {

// About 24 kB of header.
std::string many_tensors() {
  test::NamedTensors tensors;
  for (int i = 0; i < 280; ++i) {
    const std::string name = "transformer_blocks." + std::to_string(i) + ".norm.weight";
    tensors.emplace_back(name, at::ones({1 + i % 3, 5}, i % 2 ? at::kHalf : at::kFloat));
  }
  return test::safetensors_file(tensors);
}

std::uint64_t header_end(const std::string& file) {
  return 8 + *reinterpret_cast<const std::uint64_t*>(file.data());
}

// Dtype, shape and place of each tensor, without its name: a flipped bit in a name makes another good name,
// which the network then misses by name.
std::vector<std::string> layout(const std::vector<Entry>& entries) {
  std::vector<std::string> lines;
  for (const Entry& e : entries) {
    std::string line(dtype_name(e.dtype));
    for (const auto size : e.shape) line += " " + std::to_string(size);
    lines.push_back(line + " @" + std::to_string(e.begin) + "-" + std::to_string(e.end));
  }
  return lines;
}

TEST(DamagedFile, TruncatedAnywhereIsRefused) {
  const std::string file = many_tensors();
  ASSERT_GT(header_end(file), 5u * 4096);
  std::vector<std::size_t> lengths;
  for (std::size_t length = 0; length < header_end(file); length += 4096) lengths.push_back(length);
  std::mt19937_64 random(1);
  for (int i = 0; i < 100; ++i) lengths.push_back(random() % file.size());
  lengths.push_back(file.size() - 1);
  for (const std::size_t length : lengths) {
    // An allocation of exactly this length, so that the sanitizer sees a read past the end.
    const std::string cut(file.data(), length);
    EXPECT_FALSE(read_header(cut)) << length;
  }
}

TEST(DamagedFile, ASingleFlippedBitInTheHeaderIsRefusedOrHarmless) {
  const std::string file = many_tensors();
  const auto good = layout(read_header(file).value().entries);
  std::mt19937_64 random(2);
  int refused = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string flipped = file;
    const std::uint64_t bit = random() % (header_end(file) * 8);
    flipped[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    const auto header = read_header(flipped);
    refused += !header;
    if (header) {
      EXPECT_EQ(layout(header->entries), good) << "bit " << bit;
    }
  }
  EXPECT_GT(refused, 5'000);
}

}  // namespace
}  // namespace diffused::weights
