// The .safetensors files below a folder that an operator fills: LoRAs, textual inversions.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace diffused::pipelines {

struct FoundFile {
  std::string name;  // its path from the folder without the ending: "ink", "style/ink"
  std::filesystem::path path;
  std::string refusal;  // why nobody may read it or ask for it, in one line that names it; empty: nothing
};

// All of them, sorted by name, in whatever case the ending is. Links are followed, but not back into a folder
// that they lie in. Error: not_found without the folder.
Result<std::vector<FoundFile>> find_safetensors(const std::filesystem::path& folder);

}  // namespace diffused::pipelines
