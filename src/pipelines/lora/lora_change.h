// The change of one layer, by the tensors that an adapter's file has for it.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "nn/lora.h"
#include "pipelines/lora/lora_names.h"
#include "pipelines/lora/lora_tensors.h"
#include "weights/checkpoint.h"

namespace diffused::pipelines {

struct LoraChange {
  std::string name;  // of the layer, as the file calls it
  LoraPlace place;
  LoraTensors tensors;
  std::vector<std::int64_t> weight;  // the layer's sizes
  double scale = 1;                  // alpha / rank
};

// The rank that alpha is divided by; 0 for a change that has none.
std::int64_t rank_of(const weights::Checkpoint& file, const LoraTensors& tensors);

// How many outputs the file's change has, when it changes a weight of these sizes, of which it has a share
// from first_row on. Error: a message that says what is wrong, without the file's name; the code is data_loss
// for tensors that are missing, unsupported for other sizes. `pads`: whether a change of fewer inputs counts
// as one of the first.
Result<std::int64_t> outputs_of(const weights::Checkpoint& file, const LoraChange& change, bool pads);

// Reads the tensors. `weight_of`: the layer's own weight in float32, which DoRA needs. Throws
// weights::LoadError.
struct LoraDevice {
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
};
nn::LayerChange read_change(weights::Checkpoint& file, const LoraChange& change, LoraDevice place,
                            const std::function<at::Tensor()>& weight_of);

}  // namespace diffused::pipelines
