// How the makers of a network call the layers that Diffusers calls otherwise. Tools that train LoRAs write
// these names; the tables of single_file/ rename whole checkpoints, here only the layers that LoRAs change.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipelines/component.h"

namespace diffused::pipelines {

// A layer of the network, all or a share of the outputs that a layer of the original has.
struct OriginalLayer {
  std::string original;         // "double_blocks.0.img_attn.qkv"
  std::string layer;            // "transformer_blocks.0.attn.to_k"
  std::int64_t first_row = 0;   // of the original's outputs
  bool halves_swapped = false;  // the second half of the outputs before the first
};

// Of the layers of one network, named without the component. What has no other name is left out. Pure.
std::vector<OriginalLayer> original_unet_names(const ChangeableLayers& layers);
std::vector<OriginalLayer> original_flux_names(const ChangeableLayers& layers);
std::vector<OriginalLayer> original_flux2_names(const ChangeableLayers& layers);
std::vector<OriginalLayer> original_z_image_names(const ChangeableLayers& layers);
std::vector<OriginalLayer> original_sd3_names(const ChangeableLayers& layers);

}  // namespace diffused::pipelines
