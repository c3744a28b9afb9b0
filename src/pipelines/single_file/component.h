// A component of a checkpoint in one file: its tensors under the names of Diffusers, and what the shapes tell
// of its config.json.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <string>
#include <vector>

#include "weights/renaming.h"

namespace diffused::pipelines {

struct FileComponent {
  std::string library, class_name;
  boost::json::object told = {};    // of config.json: what the shapes say
  boost::json::object likely = {};  // what they do not say, as it is in published models of this kind
  std::shared_ptr<weights::Checkpoint> weights = nullptr;
};

// What differs between autoencoders of equal shapes.
struct LatentScale {
  double factor = 1, shift = 0;
};

// Each reads one component, whose tensors have the prefix of `names`; those of denoisers and autoencoders
// under the names of their makers or of Diffusers. Throws weights::LoadError where the shapes contradict each
// other.

// The UNet of Stable Diffusion 1, 2 and XL.
FileComponent unet_component(weights::Renaming& names);
FileComponent autoencoder_component(weights::Renaming& names, LatentScale scale);
// Stable Diffusion 3 and 3.5.
FileComponent mmdit_component(weights::Renaming& names);
FileComponent flux_component(weights::Renaming& names);
FileComponent flux2_component(weights::Renaming& names);
FileComponent z_image_component(weights::Renaming& names);

// What becomes of the pooled text.
enum class Projection {
  none,     // it stays as it is
  stored,   // by the file's matrix
  identity  // by a matrix of ones, whatever the file holds
};
// CLIP under the names of transformers; `activation` is what published encoders of this kind have.
FileComponent clip_component(weights::Renaming& names, const char* activation, Projection projection);
// CLIP under the names of OpenCLIP. Stable Diffusion 2 leaves the last layer out and does not project.
FileComponent open_clip_component(weights::Renaming& names, bool all_layers);
FileComponent t5_component(weights::Renaming& names);
// Qwen3, with or without the head that makes words.
FileComponent qwen3_component(weights::Renaming& names);

// A JSON list of the items.
template <typename Items>
boost::json::array json_list(const Items& items) {
  boost::json::array list;
  for (const auto& item : items) list.emplace_back(item);
  return list;
}

}  // namespace diffused::pipelines
