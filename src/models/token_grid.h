// Where the tokens of pictures are in a sequence.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace diffused::models {

// How the tokens of one picture lie: row by row.
struct TokenGrid {
  std::int64_t rows = 0, columns = 0;
  std::int64_t picture = 0;  // which of several, as a position; 0: the one that is made

  std::int64_t tokens() const { return rows * columns; }
  bool operator==(const TokenGrid&) const = default;
};

// The positions (picture, row, column) of the tokens of pictures one after another: [N, 3] float32.
at::Tensor token_positions(const std::vector<TokenGrid>& grids, at::Device device);

// How many tokens they are.
std::int64_t count_tokens(const std::vector<TokenGrid>& grids);

}  // namespace diffused::models
