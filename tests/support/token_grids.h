// The grids of a golden file's image tokens.
#pragma once

#include <vector>

#include "models/token_grid.h"
#include "support/golden.h"

namespace diffused::test {

inline std::vector<models::TokenGrid> grids_of(const Golden& golden) {
  std::vector<models::TokenGrid> grids;
  for (const at::Tensor& grid : golden.in("grids").to(at::kLong).unbind()) {
    grids.push_back({.rows = grid[0].item<std::int64_t>(),
                     .columns = grid[1].item<std::int64_t>(),
                     .picture = grid[2].item<std::int64_t>()});
  }
  return grids;
}

}  // namespace diffused::test
