#include "pipelines/packed_latents.h"

#include "samplers/sigma_spacing.h"

namespace diffused::pipelines {

at::Tensor packed(const at::Tensor& latents) {
  return latents.unflatten(3, {-1, kLatentPatch})
      .unflatten(2, {-1, kLatentPatch})  // [1, C, rows, patch, columns, patch]
      .permute({0, 2, 4, 1, 3, 5})       // [1, rows, columns, C, patch, patch]
      .flatten(3)
      .flatten(1, 2)  // [1, rows * columns, C * patch * patch]
      .contiguous();
}

at::Tensor unpacked(const at::Tensor& latents, LatentSize size) {
  return latents.unflatten(1, {size.height / kLatentPatch, size.width / kLatentPatch})
      .unflatten(3, {-1, kLatentPatch, kLatentPatch})  // [1, rows, columns, C, patch, patch]
      .permute({0, 3, 1, 4, 2, 5})                     // [1, C, rows, patch, columns, patch]
      .flatten(4)
      .flatten(2, 3)  // [1, C, h, w]
      .contiguous();
}

std::vector<models::TokenGrid> packed_grids(const NetworkCall& call) {
  std::vector<models::TokenGrid> grids;
  const auto add = [&grids](LatentSize size) {
    grids.push_back({.rows = size.height / kLatentPatch,
                     .columns = size.width / kLatentPatch,
                     .picture = static_cast<std::int64_t>(grids.size())});
  };
  add(call.size);
  for (const LatentSize& size : call.reference_sizes) add(size);
  return grids;
}

samplers::ScheduleRequest packed_schedule(const GenerateRequest& resolved, LatentSize size) {
  const int steps = *resolved.num_inference_steps;
  return {.steps = steps,
          .image_tokens = static_cast<int>(packed_tokens(size)),
          .sigmas = samplers::linspace(1.0, 1.0 / steps, static_cast<std::size_t>(steps))};
}

}  // namespace diffused::pipelines
