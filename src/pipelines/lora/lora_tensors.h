// How the files of adapters call their tensors: which layer each belongs to, and what it is of that layer's
// change.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "weights/checkpoint.h"

namespace diffused::pipelines {

enum class LoraPart {
  down,  // LoRA's matrices
  up,
  mid,      // of a convolution whose down is of one pixel
  up_bias,  // added to what `up` gives
  alpha,
  magnitude,   // DoRA of PEFT
  dora_scale,  // DoRA of kohya's and LyCORIS' scripts
  diff,        // the whole change of a weight, and of a bias
  diff_bias,
  norm,  // the same of a norm
  norm_bias,
  hada_w1_a,  // LoHa
  hada_w1_b,
  hada_w2_a,
  hada_w2_b,
  hada_t1,
  hada_t2,
  lokr_w1,  // LoKr
  lokr_w1_a,
  lokr_w1_b,
  lokr_w2,
  lokr_w2_a,
  lokr_w2_b,
  lokr_t2,
};

// The tensors of one layer, by the names in the file.
using LoraTensors = std::map<LoraPart, std::string>;

struct LoraGroups {
  std::map<std::string, LoraTensors> layers;  // by the file's name of the layer, sorted
  std::vector<std::string> unknown;           // tensors that are none of those parts
};
LoraGroups group_lora_tensors(const weights::Checkpoint& file);

// The kind of adapter that a tensor belongs to which is of none of those parts, such as "OFT"; empty when it
// is not known either.
std::string_view other_adapter(std::string_view tensor);

}  // namespace diffused::pipelines
