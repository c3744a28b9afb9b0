// One picture in flight.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "job/pipeline.h"
#include "nn/lora.h"
#include "pipelines/family.h"
#include "pipelines/latent_request.h"
#include "pipelines/latent_source.h"
#include "pipelines/prompt_cache.h"
#include "samplers/easy_cache.h"
#include "samplers/noise.h"
#include "samplers/sampler.h"

namespace diffused::pipelines {

// Which calls of the network a step is made of.
struct CallForm {
  bool guided = false;  // for both prompts
  bool skips = false;   // and once more with blocks left out
  bool operator==(const CallForm&) const = default;
};

// A prompt on its way to its embedding.
struct PromptSlot {
  PromptIds prompt;
  std::string key;
  PromptCache::Entry embedding;
};

// What is remembered of the steps that were made, by a row with a cache.
struct StepMemory {
  samplers::EasyCache easy;
  CallForm calls;  // of the latest
};

// Only LatentPipeline touches the fields. It moves a row from unit to unit; the row itself decides nothing.
struct LatentRow final : Row {
  Unit next() const override {
    if (image) return {UnitKind::done, 0, 0};
    if (!ready()) return {UnitKind::encode, encode_key, encode_flops};
    if (step_done < steps() && !ended_early)
      return {UnitKind::step, step_key | guided(),
              step_flops * (guided() ? 2 : 1) + (skips() ? skip_flops : 0)};
    return {UnitKind::decode, decode_key + decode_done, decode_units[decode_done].flops};
  }
  int step() const override { return step_done; }
  int steps() const override { return schedule.end() - schedule.begin; }
  int steps_skipped() const override { return skipped; }

  // The place in the schedule of the network's next call.
  int call() const { return schedule.begin + step_done; }

  // Whether the next call runs for both prompts.
  bool guided() const { return guidance && call() < guided_end; }
  // Whether the next step has a call that leaves blocks out.
  bool skips() const { return guided() && guidance->skips_at(step_done, steps()); }
  CallForm calls() const { return {.guided = guided(), .skips = skips()}; }
  bool has_conditioning() const { return step_done >= conditioning_begin && step_done < conditioning_end; }
  // How many prompts there are.
  int prompts() const { return guidance ? 2 : 1; }
  bool ready() const {
    return latents.defined() && positive.embedding && (!guidance || negative->embedding) &&
           references.defined() == !reference_sizes.empty();
  }

  // What was asked for.
  GenerateRequest request;  // resolved
  LatentSize size;
  std::vector<LatentSize> reference_sizes;
  PromptSlot positive;
  std::optional<PromptSlot> negative;  // with classifier-free guidance only
  std::optional<Guidance> guidance;
  int guided_end = 0;             // the place in the schedule from which on there is none
  StepCache cache;                // with its threshold
  nn::LoraSet loras, text_loras;  // of the denoiser and of the text encoders
  std::shared_ptr<const samplers::Sampler> sampler;
  samplers::Schedule schedule;
  // step_key: even, guidance sets its last bit; decode_key: of the first unit.
  std::uint64_t encode_key = 0, step_key = 0, decode_key = 0;
  double encode_flops = 0, step_flops = 0, skip_flops = 0;  // step_flops: of one prompt
  std::vector<DecodeUnit> decode_units;

  // Where it stands.
  at::Generator generator;
  std::optional<samplers::Variation> variation;  // of its first noise
  SourceLatents source;                          // once encoded, when there is a picture to start from
  at::Tensor references;                         // once encoded, when there are pictures to go by
  // As Family::pack makes them, in the pipeline's dtype or in float32 (FamilyTraits::wide_latents).
  at::Tensor latents;
  samplers::History history;  // what the sampler remembers of the steps before
  // As the latents, float32: what they would be without noise, by the latest step's guess.
  at::Tensor clean;
  // [G * K, width]: of the K steps from conditioning_begin to before conditioning_end, the negative prompt's
  // before the positive's.
  at::Tensor conditioning;
  int conditioning_begin = 0, conditioning_end = 0;
  int step_done = 0;
  StepMemory memory;
  int skipped = 0;              // steps that were not made
  bool ended_early = false;     // the latents are decoded as they are
  at::Tensor decoding;          // what the autoencoder's stages so far gave
  std::size_t decode_done = 0;  // units
  std::optional<Image> image;
};

}  // namespace diffused::pipelines
