// What a folder's model_index.json says, for commands that only look.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace diffused::app {

// One line of model_index.json: "vae": ["diffusers", "AutoencoderKL"].
struct Component {
  std::string name, library, class_name;
};

struct ModelIndex {
  std::string class_name;
  std::vector<Component> components;
  std::vector<std::string> absent;  // [null, null]
};

// Errors: not_found (no such file), data_loss.
Result<ModelIndex> read_model_index(const std::filesystem::path& folder);

}  // namespace diffused::app
