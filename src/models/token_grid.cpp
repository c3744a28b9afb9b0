#include "models/token_grid.h"

#include <ATen/ATen.h>

#include <vector>

namespace diffused::models {

at::Tensor token_positions(const std::vector<TokenGrid>& grids, at::Device device) {
  const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
  std::vector<at::Tensor> all;
  for (const TokenGrid& grid : grids) {
    const auto along = [&](const at::Tensor& t) { return t.expand({grid.rows, grid.columns}).flatten(); };
    all.push_back(at::stack(
        {along(at::full({1, 1}, grid.picture, options)), along(at::arange(grid.rows, options).unsqueeze(1)),
         along(at::arange(grid.columns, options).unsqueeze(0))},
        1));  // [rows * columns, 3]
  }
  return at::cat(all);
}

std::int64_t count_tokens(const std::vector<TokenGrid>& grids) {
  std::int64_t sum = 0;
  for (const TokenGrid& grid : grids) sum += grid.tokens();
  return sum;
}

}  // namespace diffused::models
