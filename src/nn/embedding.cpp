#include "nn/embedding.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "base/check.h"
#include "nn/activation.h"

namespace diffused::nn {
namespace {

constexpr std::int64_t kTimestepChannels = 256;
constexpr double kLongestPeriod = 10000;

// A convolution whose stride is its kernel is a linear on the pixels of a patch.
Linear patch_linear(const weights::Scope& scope, const PatchGrid& grid) {
  const auto weight = scope.tensor("weight", {grid.size, grid.in_channels, grid.patch_size, grid.patch_size});
  return {weight.flatten(1),
          scope.tensor("bias", {grid.size}),
          LinearFormat::plain,
          {.names = {scope.changeable_layer()}}};
}

}  // namespace

Embedding::Embedding(const weights::Scope& scope, std::int64_t count, std::int64_t size)
    : weight_(scope.tensor("weight", {count, size})) {}

at::Tensor Embedding::operator()(const at::Tensor& ids) const { return at::embedding(weight_, ids); }

at::Tensor timestep_sinusoid(const at::Tensor& t, std::int64_t size, double scale) {
  const std::int64_t half = size / 2;
  const at::Tensor index = at::arange(half, t.options().dtype(at::kFloat));
  const at::Tensor frequencies = at::exp(index * -std::log(kLongestPeriod) / half);
  const at::Tensor angles = t.to(at::kFloat).unsqueeze(1) * frequencies * scale;  // [R, size / 2]
  return at::cat({at::cos(angles), at::sin(angles)}, 1);                          // [R, size]
}

TwoLayerEmbedding::TwoLayerEmbedding(const weights::Scope& scope, std::int64_t in, std::int64_t size,
                                     bool bias)
    : linear_1_(scope / "linear_1", in, size, bias), linear_2_(scope / "linear_2", size, size, bias) {}

at::Tensor TwoLayerEmbedding::operator()(const at::Tensor& x) const {
  return linear_2_(activate(Activation::silu, linear_1_(x)));
}

ConditioningEmbedding::ConditioningEmbedding(const weights::Scope& scope, std::int64_t pooled_size,
                                             std::int64_t size, bool guidance)
    : timestep_embedder_(scope / "timestep_embedder", kTimestepChannels, size),
      text_embedder_(scope / "text_embedder", pooled_size, size) {
  if (guidance) guidance_embedder_.emplace(scope / "guidance_embedder", kTimestepChannels, size);
}

at::Tensor ConditioningEmbedding::operator()(const at::Tensor& timesteps, const at::Tensor& pooled,
                                             const at::Tensor& guidance) const {
  CHECK(guidance.defined() == guidance_embedder_.has_value());
  const auto sinusoid = [&](const at::Tensor& t) {
    return timestep_sinusoid(t, kTimestepChannels).to(pooled.scalar_type());
  };
  at::Tensor sum = timestep_embedder_(sinusoid(timesteps));  // [R, size]
  if (guidance_embedder_) sum = sum + (*guidance_embedder_)(sinusoid(guidance));
  return sum + text_embedder_(pooled);
}

PatchEmbedding::PatchEmbedding(const weights::Scope& scope, const PatchGrid& grid)
    : grid_(grid),
      proj_(patch_linear(scope / "proj", grid)),
      pos_embed_(scope.tensor("pos_embed", {1, grid.side_max * grid.side_max, grid.size})
                     .view({grid.side_max, grid.side_max, grid.size})) {}

at::Tensor PatchEmbedding::operator()(const at::Tensor& latents) const {
  const std::int64_t patch = grid_.patch_size;
  const std::int64_t rows = latents.size(2) / patch;
  const std::int64_t columns = latents.size(3) / patch;
  CHECK_WITH(latents.size(2) == rows * patch && latents.size(3) == columns * patch &&
                 rows <= grid_.side_max && columns <= grid_.side_max,
             fmt::format("latents of {}x{}, patches of {}, a table of {} patches a side", latents.size(2),
                         latents.size(3), patch, grid_.side_max));
  const at::Tensor patches = latents.unflatten(3, {columns, patch})
                                 .unflatten(2, {rows, patch})  // [B, C, rows, patch, columns, patch]
                                 .permute({0, 2, 4, 1, 3, 5})  // [B, rows, columns, C, patch, patch]
                                 .flatten(3)
                                 .flatten(1, 2);  // [B, rows * columns, C * patch * patch]
  const at::Tensor positions = pos_embed_.narrow(0, (grid_.side_max - rows) / 2, rows)
                                   .narrow(1, (grid_.side_max - columns) / 2, columns)
                                   .flatten(0, 1);  // [rows * columns, size]
  return proj_(patches) + positions;
}

}  // namespace diffused::nn
