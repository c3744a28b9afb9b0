#include "pipelines/latent_preview.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "samplers/noise.h"

namespace diffused::pipelines {
namespace {

constexpr std::int64_t kFitSide = 16;  // latents; 256 samples for at most 17 weights per colour
constexpr std::int64_t kPatches = 5;   // the colours change about this often along a side
constexpr double kRidge = 1e-3;        // keeps channels that hardly vary from getting large weights

// [1, C, h, w] → [C + 1, h * w] with a last row of ones, in float64 on the CPU.
at::Tensor as_columns(const at::Tensor& latents) {
  const at::Tensor columns = latents.to(at::kCPU, at::kDouble).flatten(2).squeeze(0);  // [C, h * w]
  return at::cat({columns, at::ones({1, columns.size(1)}, columns.options())}, 0);
}

}  // namespace

LatentPreview::LatentPreview(const models::Autoencoder& autoencoder, at::ScalarType dtype,
                             at::Device device) {
  const std::int64_t side = kFitSide * autoencoder.format().pixels_per_latent;
  at::Generator generator = samplers::seeded_generator(0);
  const at::Tensor colours = at::rand({1, 3, kPatches, kPatches}, generator, at::kFloat);
  const at::Tensor picture =
      at::upsample_bilinear2d(colours, {side, side}, /*align_corners=*/true);  // [1, 3, S, S]
  const at::Tensor latents = autoencoder.encode((picture * 2 - 1).to(device, dtype)).mean;
  const at::Tensor x = as_columns(autoencoder.scaled(latents, /*by_channel=*/true));  // [C + 1, N]
  const at::Tensor y =
      at::adaptive_avg_pool2d(picture, {kFitSide, kFitSide}).to(at::kDouble).flatten(2)[0];  // [3, N]
  const at::Tensor normal = x.mm(x.t()) + kRidge * at::eye(x.size(0), x.options());          // [C + 1, C + 1]
  weights_ = at::linalg_solve(normal, x.mm(y.t())).t().to(at::kFloat).contiguous();          // [3, C + 1]
}

Image LatentPreview::render(const at::Tensor& latents) const {
  const at::Tensor columns = as_columns(latents).to(at::kFloat);
  return to_image(weights_.mm(columns).view({1, 3, latents.size(2), latents.size(3)}));
}

Image to_image(const at::Tensor& rgb) {
  const at::Tensor bytes = (rgb.to(at::kFloat).clamp(0, 1) * 255)
                               .round()
                               .to(at::kByte)
                               .squeeze(0)
                               .permute({1, 2, 0})
                               .to(at::kCPU)
                               .contiguous();
  Image image{.width = static_cast<int>(rgb.size(3)),
              .height = static_cast<int>(rgb.size(2)),
              .channels = 3,
              .pixels = {}};
  image.pixels.assign(bytes.data_ptr<std::uint8_t>(),
                      bytes.data_ptr<std::uint8_t>() + bytes.numel());  // [H, W, 3]
  return image;
}

}  // namespace diffused::pipelines
