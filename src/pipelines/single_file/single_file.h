// START HERE for checkpoints in one file: what a .safetensors file of Stable Diffusion 1, 2, XL, 3, FLUX.1,
// FLUX.2 klein or Z-Image holds, told by the names and shapes of its tensors; of Kontext the file's own name
// tells. Nothing is copied: each component is a view of the file under Diffusers' names
// (weights/renaming.h), from which families load as from a folder. single_file.cpp is the list of kinds.
#pragma once

#include <boost/json/object.hpp>
#include <filesystem>
#include <map>
#include <string>

#include "base/result.h"
#include "pipelines/single_file/component.h"

namespace diffused::pipelines {

struct SingleFile {
  std::filesystem::path path;
  std::string class_name;                           // of the pipeline, as model_index.json would say
  std::map<std::string, FileComponent> components;  // by Diffusers' names: "unet", "text_encoder_2" …
  // The scheduler that published models of this kind come with.
  std::string scheduler_class;
  boost::json::object scheduler;
  // What the file itself says of the noise it was trained on; goes before any config.
  boost::json::object scheduler_told;
  // Whether the file itself says that a scheduler of this class is needed: goes before one of another kind.
  bool scheduler_marked = false;
  // What such marks say of the autoencoder's config, all together: for one that has not the first key itself.
  boost::json::object vae_marked;
};

// Errors, with the file as field: not_found, data_loss (truncated, or tensors that contradict each other),
// unsupported (no checkpoint of a known kind, or with a tensor that such a checkpoint does not have). Any
// thread.
Result<SingleFile> open_single_file(const std::filesystem::path& path);

// An autoencoder by itself, or that of a whole checkpoint; under the names of its makers or of Diffusers.
// Errors: as above.
Result<FileComponent> open_autoencoder_file(const std::filesystem::path& path);

}  // namespace diffused::pipelines
