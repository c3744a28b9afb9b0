// The names that files of LoRAs have for a model's layers.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "pipelines/network_store.h"

namespace diffused::pipelines {

// A layer that a name of a file means, all of it or a share of what the file has for it.
struct LoraPlace {
  std::string layer;            // "unet.mid_block.attentions.0.proj_in"
  std::int64_t first_row = 0;   // of the file's outputs
  bool halves_swapped = false;  // the second half of the file's outputs before the first

  bool operator==(const LoraPlace&) const = default;
};

// Which of its names a file gives a layer. Of several, the first here counts (lora_file.cpp).
enum class LoraSpelling {
  own,           // Diffusers', "unet.mid_block.attentions.0.proj_in"
  flat,          // the same as kohya has it, "lora_unet_mid_block_attentions_0_proj_in"
  makers,        // that of the network's makers, in either form
  makers_block,  // the same, of a numbered block of a UNet
};

// Which layers of a file are read that gives them several names, as Diffusers does it for the family.
enum class LoraReading {
  best_name,   // of the file's best spelling
  flux,        // FLUX.1's own rules
  every_name,  // all of them
};

struct LoraMeaning {
  std::vector<LoraPlace> places;
  LoraSpelling spelling = LoraSpelling::own;
};

// A name is looked up among those that the model's layers can have; nothing is taken apart or put together.
class LoraNames {
 public:
  // All names of these layers: Diffusers' own ("unet.mid_block.attentions.0.proj_in"), kohya's
  // ("lora_unet_mid_block_attentions_0_proj_in"), and those of the network's makers in either spelling
  // ("lora_unet_middle_block_1_proj_in", "diffusion_model.middle_block.1.proj_in").
  explicit LoraNames(const ChangeableLayers& layers);

  // Where it goes: several places for a layer that is several here; nothing for an unknown name.
  const LoraMeaning* find(const std::string& name) const;

  LoraReading reading() const { return reading_; }

 private:
  void add(const std::string& name, const LoraPlace& place, LoraSpelling spelling);
  void add_component(const std::string& component, const ChangeableLayers& layers);

  std::unordered_map<std::string, LoraMeaning> meanings_;
  LoraReading reading_ = LoraReading::best_name;
};

}  // namespace diffused::pipelines
