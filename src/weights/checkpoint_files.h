// Which files hold a component's weights: one file, or the shards of an index, in the spellings that
// Diffusers and transformers write and once wrote.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace diffused::weights {

struct CheckpointFiles {
  std::vector<std::filesystem::path> files;  // each opens one safetensors file
  std::map<std::string, std::string>
      shards;  // tensor → shard file name, as the index says; empty for a single file
};

// Finds the weights named `stem` ("diffusion_pytorch_model") in `folder`; with a `variant` ("fp16") its own
// files are preferred, the plain ones are the fallback; without plain ones the only variant there is serves.
// Errors: not_found (no folder, no weights, a shard that is not there), unsupported (nothing but pickle
// files), data_loss (a damaged index); the field is the path concerned. Any thread.
Result<CheckpointFiles> find_checkpoint(const std::filesystem::path& folder, const std::string& stem,
                                        const std::string& variant);

}  // namespace diffused::weights
