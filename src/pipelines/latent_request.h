// What a request means to a loaded model: its defaults and limits, its work, its schedule. Pure; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "job/job.h"
#include "job/request_rules.h"
#include "pipelines/family.h"
#include "pipelines/latent_model.h"
#include "samplers/sampler.h"

namespace diffused::pipelines {

// As Pipeline::resolve.
Result<GenerateRequest> resolve_request(const LatentModel& model, GenerateRequest request);

LatentSize size_of(const LatentModel& model, const GenerateRequest& resolved);

// How the pictures to go by of a resolved request are fitted, and the sizes of their latents; none of one
// that controls.
std::vector<ReferenceFit> reference_fits(const LatentModel& model, const GenerateRequest& resolved);
std::vector<LatentSize> reference_sizes(const LatentModel& model, const GenerateRequest& resolved);

// Stages of the autoencoder that run as one unit.
struct DecodeUnit {
  std::size_t stages = 0;
  double flops = 0;
};

// The estimated work of one picture of a resolved request.
struct LatentWork {
  double encode_flops = 0, step_flops = 0, decode_flops = 0;  // step_flops: of one call, with its guidance
  double skip_flops = 0;                                      // of the call that leaves blocks out
  double pictures_flops = 0;                                  // the part of encode_flops that pictures are
  int tokens_key = 0;                                         // as FamilyWork's
  // The decode in order. None is longer than a step, so that a decode keeps nobody waiting longer than the
  // steps before it did; but a stage that is longer alone is one.
  std::vector<DecodeUnit> decode_units;
};
LatentWork work_of(const LatentModel& model, const GenerateRequest& resolved);

// The sampler that a request names, as the kind of request has it; null when the model has none of this name.
std::shared_ptr<const samplers::Sampler> find_sampler(const LatentModel& model,
                                                      const GenerateRequest& request);

// The noise levels that a resolved request goes through; with an image to start from, its strength says where
// they begin, which may be at their end. Error: invalid_argument, with the field.
Result<samplers::Schedule> schedule_of(const LatentModel& model, const GenerateRequest& resolved);

// Whether the picture to start from is what another model left off at, with its noise.
bool begins_later(const LatentModel& model, const GenerateRequest& resolved);

// A second or third prompt that is absent or empty becomes the first, as in Diffusers.
void or_first(std::optional<std::string>& prompt, const std::string& first);

// Whether the request's prompts have weights and chunks.
bool is_weighted(const GenerateRequest& request);

}  // namespace diffused::pipelines
