// Image-to-image and inpainting: where a picture starts that is not drawn from noise alone.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

#include "image/image.h"
#include "models/autoencoder.h"
#include "pipelines/family.h"
#include "samplers/noise.h"
#include "samplers/sampler.h"

namespace diffused::pipelines {

// A picture of three channels as [1, 3, H, W] float32 in 0…1.
at::Tensor to_unit_pixels(const Image& image);

// What a picture is made from. The pictures are shared, never changed, and of any size.
struct Source {
  std::shared_ptr<const Image> image;    // null: noise alone, with what controls it
  std::shared_ptr<const Image> control;  // null where FamilyTraits::controls is false
  std::shared_ptr<const Image> mask;     // grey: >= 128 is repainted, the rest is kept; null: no inpainting
  int width = 0, height = 0;             // of the picture that is wanted
  double strength = 1;                   // as GenerateRequest::strength
  bool adds_noise = true;                // else the picture has the noise of the first level already
  std::optional<samplers::Variation> variation = {};  // of the noise
};

// The source in latents, in the pipeline's dtype, each as Family::pack makes it of [1, C, h, w].
struct SourceLatents {
  at::Tensor start;  // the source brought to the schedule's first noise level, or noise alone
  at::Tensor clean;  // the source itself
  at::Tensor noise;  // what `start` was made noisy with
  at::Tensor mask;   // 1 repaints, 0 keeps; undefined without a mask, and for a network that fills
  // What controls. For a network that fills: of Family::fill. Such a network keeps what it sees; `clean` may
  // be undefined when `start` is noise alone.
  at::Tensor fill;
};

// Latents of noise alone at the first noise level of a schedule: [1, C, h, w] of the noise's dtype on the
// CPU.
at::Tensor first_latents(const at::Tensor& noise, const samplers::Sampler& sampler,
                         const samplers::Schedule& schedule);

// The pictures are brought to the size that is wanted by Lanczos, as Pillow does. Draws from `generator`
// first the autoencoder's choices of latents, of what controls first, then the noise, as Diffusers does.
// Inpainting that leaves no step out starts from noise alone. `options` are the pipeline's dtype and device.
// Device thread only.
SourceLatents encode_source(const Source& source, const Family& family,
                            const models::Autoencoder& autoencoder, const samplers::Sampler& sampler,
                            const samplers::Schedule& schedule, at::Generator& generator,
                            const at::TensorOptions& options);

// Pictures to go by, as the network sees them: the mean of what each is encoded to, one after another as
// Family::pack makes them, along the tokens. `fits`: of each; `first`: tokens that come before them, or
// undefined. `options` as encode_source's. Device thread only.
at::Tensor encode_references(const std::vector<std::shared_ptr<const Image>>& references,
                             const std::vector<ReferenceFit>& fits, const Family& family,
                             const models::Autoencoder& autoencoder, const at::TensorOptions& options,
                             const at::Tensor& first);

// `latents` with what the mask keeps put back, at the noise level of the schedule's call `index`; without
// noise when that is past the last one.
at::Tensor restore_kept(const SourceLatents& source, const samplers::Sampler& sampler,
                        const samplers::Schedule& schedule, int index, const at::Tensor& latents);

// How many of a schedule's first steps are left out at this strength.
int steps_left_out(StrengthRule rule, int steps, double strength);

}  // namespace diffused::pipelines
