// Follows the …_img2img.py and …_inpaint.py of diffusers 0.42.1, which agree but for defaults and for what
// StrengthRule tells. What differs: the inpainted latents are shifted back before decoding, which that of
// Stable Diffusion 3 forgets (its issue #13611), and each picture draws from its own generator, where
// Diffusers lets all pictures of a call share the latents that the first one's generator chose.
#include "pipelines/latent_source.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <algorithm>
#include <vector>

#include "image/channels.h"
#include "image/resize.h"
#include "samplers/noise.h"

namespace diffused::pipelines {
namespace {

constexpr int kMaskThreshold = 128;  // the first grey of which a half or more is white

// [1, channels, H, W] of uint8, a copy.
at::Tensor to_tensor(const Image& image) {
  auto* const pixels = const_cast<std::uint8_t*>(image.pixels.data());
  return at::from_blob(pixels, {1, image.height, image.width, image.channels}, at::kByte)
      .permute({0, 3, 1, 2})
      .contiguous();
}

// [1, 3, H, W] float32 in -1…1.
at::Tensor to_pixels(const Image& image) { return to_unit_pixels(image) * 2 - 1; }

}  // namespace

at::Tensor to_unit_pixels(const Image& image) { return to_tensor(image).to(at::kFloat) / 255; }

at::Tensor encode_references(const std::vector<std::shared_ptr<const Image>>& references,
                             const std::vector<ReferenceFit>& fits, const Family& family,
                             const models::Autoencoder& autoencoder, const at::TensorOptions& options,
                             const at::Tensor& first) {
  std::vector<at::Tensor> tokens;
  if (first.defined()) tokens.push_back(first);
  for (std::size_t i = 0; i < references.size(); ++i) {
    const ReferenceFit& fit = fits[i];
    const Image resized = resize_lanczos(to_rgb(*references[i]), fit.resized_width, fit.resized_height);
    const at::Tensor pixels = to_pixels(resized)
                                  .narrow(2, (fit.resized_height - fit.height) / 2, fit.height)
                                  .narrow(3, (fit.resized_width - fit.width) / 2, fit.width);
    tokens.push_back(
        family.pack(autoencoder.scaled(autoencoder.encode(pixels.to(options)).mean, /*by_channel=*/true)));
  }
  return at::cat(tokens, 1);  // [1, all tokens, C]
}

at::Tensor first_latents(const at::Tensor& noise, const samplers::Sampler& sampler,
                         const samplers::Schedule& schedule) {
  return noise * sampler.first_noise(schedule);
}

SourceLatents encode_source(const Source& source, const Family& family,
                            const models::Autoencoder& autoencoder, const samplers::Sampler& sampler,
                            const samplers::Schedule& schedule, at::Generator& generator,
                            const at::TensorOptions& options) {
  const auto dtype = c10::typeMetaToScalarType(options.dtype());
  const FamilyTraits& traits = family.traits();
  const std::int64_t scale = autoencoder.format().pixels_per_latent;
  const std::vector<std::int64_t> shape = {1, autoencoder.format().channels, source.height / scale,
                                           source.width / scale};
  const auto draw = [&] {
    return samplers::draw_noise(generator, shape, dtype).to(options);
  };  // [1, C, h, w]
  const auto encoded = [&](const at::Tensor& picture) {
    const models::LatentDistribution distribution = autoencoder.encode(picture.to(options));
    at::Tensor drawn = distribution.mean;  // [1, C, h, w]
    if (!traits.source_is_mean) drawn = drawn + (distribution.logvar * 0.5).exp() * draw();
    // Diffusers' inpainting does not normalise by channel what it encodes, though it decodes as if it had.
    return autoencoder.scaled(drawn, /*by_channel=*/!source.mask);
  };
  const auto fitted = [&](const Image& image) {
    return to_pixels(resize_lanczos(to_rgb(image), source.width, source.height));  // [1, 3, H, W]
  };
  SourceLatents latents;
  if (source.control) {
    if (source.mask) draw();  // for the masked picture, whose latents nothing reads
    latents.fill = family.pack(encoded(fitted(*source.control)));
  }
  if (!source.image) {
    latents.noise = family.pack(
        samplers::varied(samplers::draw_noise(generator, shape, dtype), source.variation).to(options));
    latents.start = first_latents(latents.noise, sampler, schedule);
    return latents;
  }
  const at::Tensor pixels = fitted(*source.image);
  // A schedule's first noise level may leave something of the picture; full strength does not.
  const bool noise_alone = source.mask && source.strength == 1 && source.adds_noise;
  if (!noise_alone || !traits.fills || traits.fill_encodes_picture)
    latents.clean = family.pack(encoded(pixels));
  if (!source.adds_noise) latents.start = latents.clean;
  if (!source.adds_noise && !source.mask) return latents;
  latents.noise = family.pack(
      samplers::varied(samplers::draw_noise(generator, shape, dtype), source.variation).to(options));
  if (source.adds_noise) {
    latents.start = noise_alone ? latents.noise * sampler.first_noise(schedule)
                                : sampler.add_noise(schedule, schedule.begin, latents.clean, latents.noise);
  }
  if (!source.mask) return latents;
  const Image grey = to_grey(resize_lanczos(*source.mask, source.width, source.height));
  const at::Tensor repainted = (to_tensor(grey) >= kMaskThreshold).to(at::kFloat);  // [1, 1, H, W]
  if (traits.fills) {
    latents.fill = family.fill(repainted.to(options), encoded(pixels * (1 - repainted)));
  } else {
    const at::Tensor mask =
        traits.mask_is_soft
            ? at::upsample_bilinear2d(repainted, {shape[2], shape[3]}, /*align_corners=*/false)
            : at::upsample_nearest2d(repainted, {shape[2], shape[3]});  // [1, 1, h, w]
    if (traits.masked_picture_draws) draw();
    latents.mask = family.pack(mask.to(options).expand(shape));
  }
  return latents;
}

at::Tensor restore_kept(const SourceLatents& source, const samplers::Sampler& sampler,
                        const samplers::Schedule& schedule, int index, const at::Tensor& latents) {
  const at::Tensor kept =
      index < schedule.end() ? sampler.add_noise(schedule, index, source.clean, source.noise) : source.clean;
  return (1 - source.mask) * kept + source.mask * latents;
}

int steps_left_out(StrengthRule rule, int steps, double strength) {
  const double made = std::min(steps * strength, static_cast<double>(steps));
  if (rule == StrengthRule::shorten_schedule) return 0;
  if (rule == StrengthRule::make_whole_steps) return steps - static_cast<int>(made);
  return static_cast<int>(std::max(steps - made, 0.0));
}

}  // namespace diffused::pipelines
