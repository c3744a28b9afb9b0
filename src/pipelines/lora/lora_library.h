// START HERE for LoRAs: the files of one folder that fit a model.
//
// lora_file.h reads one of them, lora_names.h says which layer a name in it means, nn/lora.h is what a layer
// does with it. The weights of the model never change: rows carry the LoRAs of their request.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "job/job.h"
#include "nn/lora.h"
#include "pipelines/lora/lora_file.h"

namespace diffused::pipelines {

// names(): any thread. choose(): device thread only.
class LoraLibrary {
 public:
  LoraLibrary() = default;

  // Every .safetensors file below `folder`, by its path from there without the ending, in whatever case that
  // is: "ink", "style/ink". One that is damaged or of another model is left out, and the log says why. Error:
  // not_found without the folder.
  static Result<LoraLibrary> scan(const std::filesystem::path& folder, const LoadedWeights& model,
                                  at::ScalarType dtype, at::Device device);

  // Sorted.
  std::vector<std::string> names() const;
  // LoraFile::alias to name, where one file alone has it.
  std::map<std::string, std::string> aliases() const;

  // The LoRAs chosen, each of names(); those of weight 0 are left out. What was used last stays in memory.
  // Errors: as LoraFile::load.
  Result<nn::LoraSet> choose(const std::vector<LoraChoice>& choices);

 private:
  struct Kept {
    std::string name;
    std::shared_ptr<const nn::Lora> lora;
  };
  Result<std::shared_ptr<const nn::Lora>> load(const std::string& name);

  std::map<std::string, LoraFile> files_;
  LoadedWeights model_;
  std::list<Kept> recent_;  // the latest used first
  LoraDevice device_;
};

// The same, each with the weight that it has in the text encoders.
std::vector<LoraChoice> in_text_encoders(std::vector<LoraChoice> choices);

// Equal for sets that change prompts alike; empty for none.
std::string lora_key(const std::vector<LoraChoice>& choices);

}  // namespace diffused::pipelines
