// START HERE to add a model family: what a family of latent diffusion models knows that the others do not.
//
// LatentPipeline (latent_pipeline.h) moves the rows, whatever the family: encode → step × N → decode × M,
// seeds, samplers, guidance, edits, previews, the prompt cache. A Family says what a request means to its
// networks and calls them. It holds the loaded networks and nothing that changes: values in, values out.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "job/job.h"
#include "samplers/sampler.h"

namespace diffused::pipelines {

// In latent pixels, as the autoencoder has them.
struct LatentSize {
  std::int64_t height = 0, width = 0;
};

// What an edit's strength leaves of n steps.
enum class StrengthRule {
  skip_whole_steps,  // the first int(n - n · strength) steps are skipped
  make_whole_steps,  // the last int(n · strength) steps are made
  shorten_schedule,  // none: the schedule is of less noise (ScheduleRequest::strength)
};

// Whether a picture that is repainted where a mask says is one to go by as well.
enum class SourceReference {
  never,
  first,         // before the others
  without_other  // where no other is given
};

struct FamilyTraits {
  std::int64_t latent_multiple = 1;      // of each side of the latents
  std::int64_t latent_side_max = 0;      // of the longer side
  std::int64_t latent_side_default = 0;  // of both sides, when a request names no size
  std::optional<int> clip_skip_max;      // empty: clip_skip means nothing to the family
  // What Diffusers takes when a call names no strength: for pictures, and with a mask.
  double image_strength = 0.6, inpaint_strength = 0.6;
  // The same of the guidance scale, where it is another than for text alone.
  std::optional<double> image_guidance_scale, inpaint_guidance_scale;
  StrengthRule strength_rule = StrengthRule::skip_whole_steps;
  bool true_cfg_scale = false;  // as PipelineInfo has it
  bool parts_of_run = false;    // whether denoising_start and denoising_end mean anything
  // Whether the network also sees the mask and what it keeps of the picture; it then does nothing but
  // inpaint.
  bool fills = false;
  // Whether such a network's picture draws from the autoencoder though it starts from noise alone.
  bool fill_encodes_picture = false;
  // Whether a sampler with noise of its own comes after the masked picture's draw from the autoencoder.
  bool masked_picture_draws = false;
  // Whether latents are float32 between the network's calls, whatever the network's dtype.
  bool wide_latents = false;
  int references_max = 0;    // pictures to go by
  int references_least = 0;  // without so many it makes nothing
  // Whose size a picture has of which none is asked for: the first one's or the last one's, as fitted.
  enum class Sized { own, first_reference, last_reference } sized = Sized::own;
  bool edits = true;  // whether a picture may be started from, or repainted where a mask says
  // Whether the one picture to go by, which there must be, has the size of what is made, and the network sees
  // it as further channels of the latents.
  bool controls = false;
  SourceReference source_reference = SourceReference::never;
  bool starts_without_mask = true;  // whether a picture may be started from that no mask goes with
  // Whether pictures are the mean of what they are encoded to, so that nothing is drawn for them.
  bool source_is_mean = false;
  bool mask_is_soft =
      false;  // whether a mask is made as small as the latents bilinearly, not by nearest pixels

  // Whether the network goes by the picture that is repainted.
  bool goes_by_source(const GenerateRequest& resolved) const {
    return resolved.mask &&
           (source_reference == SourceReference::first ||
            (source_reference == SourceReference::without_other && resolved.references.empty()));
  }
};

// How a picture to go by is made fit for the autoencoder, in pixels: resized by Lanczos, then cut out of the
// middle.
struct ReferenceFit {
  int resized_width = 0, resized_height = 0;
  int width = 0, height = 0;  // no more than those
};

enum class PromptSide { positive, negative };

// A text as one encoder gets it: chunks of equal length, one after another.
struct EncoderText {
  std::vector<int> ids;
  std::vector<float> weights;  // of each token; empty: all 1
};

// One prompt as its text encoders get it. Equal keys have equal embeddings.
struct PromptIds {
  std::vector<EncoderText> texts;  // for each text encoder
  int chunks = 1;                  // of each CLIP text
  int clip_skip = 0;
  int max_sequence_length = 0;
  bool zeros = false;  // the embedding is all zeros, whatever the ids say
  // Those to go by that the encoders see too. The key tells them by where they lie, so that an embedding
  // holds on to them.
  std::vector<std::shared_ptr<const Image>> pictures = {};
  // Whether nearly every request needs this one, so that the cache keeps it for good. Not part of the key.
  bool common = false;

  std::string key() const;
};

// What the denoiser is told about one prompt.
struct PromptEmbedding {
  at::Tensor context;  // [1, T, D]: the tokens as the denoiser's blocks see them
  at::Tensor repeats;  // [T] float32: how many equal tokens each stands for; undefined: one each
  at::Tensor pooled;   // [1, P]; undefined in families without
  std::vector<std::shared_ptr<const Image>> pictures = {};  // of PromptIds

  std::size_t bytes() const;
  std::int64_t tokens() const { return context.size(1); }
};

// From which prompt's result guidance goes on, along the way from the negative one's to the positive one's.
enum class GuidanceFrom { negative, positive };

// Classifier-free guidance: the network runs for the negative and the positive prompt.
struct Guidance {
  double scale = 1;
  // Above 0, the share of the result that is brought to the standard deviation of the positive prompt's.
  double rescale = 0;
  // Skip-layer guidance: in the steps strictly between these shares of all the network also runs for the
  // positive prompt without these blocks, and the result is led away from that by skip_scale. Empty: none.
  std::vector<std::int64_t> skip_layers = {};
  double skip_scale = 0, skip_start = 0, skip_stop = 0;

  // Of step `index`, counted from 0.
  bool skips_at(int index, int steps) const {
    return !skip_layers.empty() && index > steps * skip_start && index < steps * skip_stop;
  }
  GuidanceFrom from = GuidanceFrom::negative;
  // Above 0, how many times the norm of the positive prompt's result that of the guided one may be.
  double norm_max = 0;
  // Whether each token of the guided result, the last dimension, is brought to the norm that the positive
  // prompt's has there.
  bool keeps_norm = false;
  // Guidance is for the calls up to this share of the way from noise to picture; the rest go without.
  double until = 1;

  // The place in the schedule from which on there is none.
  int end(const samplers::Schedule& schedule) const;
  // The guided one of the network's results for a row, each [1, …]; `poorer`: without skip_layers, undefined
  // where none are left out.
  at::Tensor apply(const at::Tensor& negative, const at::Tensor& positive, const at::Tensor& poorer) const;
};

// The prompts of one row; the negative one is null without guidance.
struct RowPrompts {
  const PromptEmbedding* negative = nullptr;
  const PromptEmbedding* positive = nullptr;
};

// The estimated work of one picture, of one of its prompts, in floating point operations.
struct FamilyWork {
  double encode_flops = 0;   // of all text encoders
  double network_flops = 0;  // of one call
  // Besides the latents' size, what rows must share to share a call: the number of tokens. Less than 65,536.
  int tokens_key = 0;
};

// One call of the network for B stacked rows; those of equal size and tokens_key, and with contexts of equal
// length, come together, at any timesteps.
struct NetworkCall {
  at::Tensor latents;                           // [B, …], each row as Family::pack made it
  std::vector<const PromptEmbedding*> prompts;  // B of them
  at::Tensor conditioning;                      // [B, width]: a row of Family::conditioning each
  // [B, …]: of Family::fill, where FamilyTraits::fills; the picture to go by, where it controls.
  at::Tensor fill;
  std::vector<std::int64_t> skip_layers;  // blocks that are left out: of Family::guidance
  LatentSize size;
  // Of pictures to go by, all those of a row as Family::pack made them, one after another; and their sizes.
  at::Tensor references;  // [B, …]; undefined without
  std::vector<LatentSize> reference_sizes;

  // The prompts' contexts, one below the other: [B, T, D].
  at::Tensor contexts() const;
  // Where latents are tokens: those that are made, with what fills them at their side, then those to go by.
  at::Tensor tokens() const;
};

// Immutable once loaded. What says "pure" may be called from any thread, the rest on the device thread, in
// inference mode.
class Family {
 public:
  virtual ~Family() = default;

  // Pure.
  virtual const FamilyTraits& traits() const = 0;

  // Fills in and checks what this family alone asks of a request; all that PipelineInfo and FamilyTraits tell
  // is filled in already. Fields that mean nothing to the family are left alone. Error: invalid_argument,
  // with the field. Pure.
  virtual Result<void> complete(GenerateRequest& request) const = 0;

  // Nothing when the network runs for the positive prompt alone. Pure.
  virtual std::optional<Guidance> guidance(const GenerateRequest& resolved) const {
    if (*resolved.guidance_scale > 1) return Guidance{.scale = *resolved.guidance_scale};
    return std::nullopt;
  }

  // What the sampler is asked for: by default the steps alone. Sigmas are a wish: a sampler that takes none
  // has its own spacing. Pure.
  virtual samplers::ScheduleRequest schedule_request(const GenerateRequest& resolved, LatentSize) const {
    return {.steps = *resolved.num_inference_steps, .image_tokens = 0, .sigmas = {}};
  }

  virtual FamilyWork work(const GenerateRequest& resolved, LatentSize size) const = 0;  // Pure.

  // Error: data_loss when a tokenizer gives an id that its encoder does not have. Pure.
  virtual Result<PromptIds> tokenize(const GenerateRequest& resolved, PromptSide side) const = 0;

  virtual PromptEmbedding encode(const PromptIds& prompt) const = 0;

  // What the network is told besides latents and tokens, for all of `timesteps` ([K] float32, as the schedule
  // has them) at once: [K, width] for the positive prompt, [2 K, width] with a negative one, whose rows come
  // first. Opaque, made for `predict`. Computed for several steps together because what it takes, the weights
  // of adaptive norms, may be a third of a network.
  virtual at::Tensor conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                                  const GenerateRequest& resolved) const = 0;

  // How a picture of this size is to be fitted, where FamilyTraits::references_max is above 0. Error:
  // invalid_argument, without a field. Pure.
  virtual Result<ReferenceFit> reference_fit(int width, int height) const;

  // Of all pictures that the network goes by, when a token is a square of so many pixels a side. Pure.
  std::int64_t reference_tokens(const GenerateRequest& resolved, int pixels_per_token) const;

  // What a network that fills sees besides the latents, of one row. mask: [1, 1, H, W] in pixels, 1 repaints;
  // kept: [1, C, h, w], the picture in which what is to be repainted is grey. Here [1, 1 + C, h, w]: the mask
  // in the latents' size, then `kept`.
  virtual at::Tensor fill(const at::Tensor& mask, const at::Tensor& kept) const;

  // The network's output, of the latents' shape. On the CPU a row's result does not depend on the others.
  virtual at::Tensor predict(const NetworkCall& call) const = 0;

  // Latents [1, C, h, w] as rows keep them, for the sampler and the network, and back. Must move values only.
  virtual at::Tensor pack(const at::Tensor& latents) const { return latents; }
  virtual at::Tensor unpack(const at::Tensor& latents, LatentSize) const { return latents; }
};

}  // namespace diffused::pipelines
