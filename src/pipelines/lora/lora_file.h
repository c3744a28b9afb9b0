// One file with a LoRA: what of it changes which layer of a model.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "nn/lora.h"
#include "pipelines/component.h"
#include "pipelines/lora/lora_change.h"
#include "pipelines/lora/lora_names.h"

namespace diffused::pipelines {

class LoraScales;

// What a file is held against.
struct LoraContext {
  const LoraNames& names;
  const ChangeableLayers& layers;
  const LoraScales& scales;
};

// Files are safetensors as Diffusers and PEFT, kohya's and LyCORIS' scripts, XLabs and ComfyUI have them:
// changes of linears, convolutions and norms, by pairs of matrices (LoRA), with magnitudes (DoRA), by
// products of pairs (LoHa) or Kronecker products (LoKr), each with a factor by a tensor `alpha` or the file's
// `lora_adapter_metadata`. Layers that the model has not, and tensors that are not understood, are left out,
// and the log says so.
class LoraFile {
 public:
  // Reads the names and sizes only. Errors are one line that names the file: not_found, data_loss (damaged),
  // unsupported (nothing in it is understood, or a layer has other sizes in this model). `layers`: those that
  // `names` finds.
  static Result<LoraFile> open(const std::filesystem::path& path, const LoraNames& names,
                               const ChangeableLayers& layers);

  // What its trainer called it (kohya's ss_output_name); empty where the file does not say.
  const std::string& alias() const { return alias_; }

  // The tensors, of this dtype on this device, by the names that the networks' layers have. Errors: as open,
  // when the file has changed since.
  Result<std::shared_ptr<const nn::Lora>> load(const LoadedWeights& model, LoraDevice device) const;

 private:
  struct Kept {
    LoraSpelling spelling;
    LoraChange change;
  };
  Result<void> add(weights::Checkpoint& file, const std::string& name, const LoraMeaning& meaning,
                   const LoraTensors& tensors, const LoraContext& context);

  std::filesystem::path path_;
  std::string alias_;
  std::map<std::string, Kept> changes_;  // by the model's layer
};

}  // namespace diffused::pipelines
