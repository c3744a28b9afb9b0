// A loaded model of any family.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "job/pipeline.h"
#include "models/autoencoder.h"
#include "pipelines/family.h"
#include "pipelines/lora/lora_library.h"
#include "samplers/sampler.h"

namespace diffused::pipelines {

// Diffusers' name → sampler.
using SamplerList = std::vector<std::pair<std::string, std::shared_ptr<const samplers::Sampler>>>;

// The immutable parts of a loaded model.
struct LatentModel {
  std::unique_ptr<const Family> family;
  std::shared_ptr<const models::Autoencoder> autoencoder;
  std::shared_ptr<const models::LatentDecoder> tiny_decoder;  // null: none
  SamplerList samplers;                                       // the folder's own first
  SamplerList masked_samplers;                                // the same names, for edits with a mask
  LoraLibrary loras;
  PipelineInfo info;
  bool own_guidance_scale = false;  // info's is the folder's own wish, not the family's default
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;

  const models::LatentDecoder& decoder(const GenerateRequest& resolved) const {
    if (tiny_decoder && resolved.decoder == kTinyDecoder) return *tiny_decoder;
    return *autoencoder;
  }
};

}  // namespace diffused::pipelines
