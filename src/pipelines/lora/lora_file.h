// One file with a LoRA: what of it changes which layer of a model.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "nn/lora.h"
#include "pipelines/component.h"
#include "pipelines/lora/lora_names.h"

namespace diffused::pipelines {

// A layer's change, by the tensors of the file.
struct LoraChange {
  LoraPlace place;
  std::string down, up;   // the tensors' names
  std::int64_t rows = 0;  // of `up`, from place.first_row on
  double scale = 1;       // alpha / rank
};

// Files are safetensors as Diffusers and PEFT, kohya's scripts and ComfyUI's models have them: pairs of
// matrices for linears and convolutions, each pair with a factor by a tensor `alpha` or the file's
// `lora_adapter_metadata`. Every layer there must be one of the model's.
class LoraFile {
 public:
  // Reads the names and sizes only. Errors are one line that names the file: not_found, data_loss (damaged),
  // unsupported (another kind of adapter, or one of another model). `layers`: those that `names` finds.
  static Result<LoraFile> open(const std::filesystem::path& path, const LoraNames& names,
                               const ChangeableLayers& layers);

  // The tensors, of this dtype on this device, by the names that the networks' layers have. Errors: as open,
  // when the file has changed since.
  Result<std::shared_ptr<const nn::Lora>> load(const LayerPrefixes& prefixes, at::ScalarType dtype,
                                               at::Device device) const;

 private:
  std::filesystem::path path_;
  std::vector<LoraChange> changes_;
};

}  // namespace diffused::pipelines
