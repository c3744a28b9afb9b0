// Low-rank adaptation (arXiv 2106.09685) and its kin: small changes of a network's layers that a request
// chooses. The weights stay as they are; a layer adds to its result what the LoRAs of its row say, so rows
// with different ones share a forward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace diffused::nn {

// What is added to a layer's weight: scale * change, where the change is
//   up down                with both matrices (LoRA, LoHa)
//   down                   without `up`: of the weight's own shape
//   left (x) (up down)     with `left`: a Kronecker product (LoKr)
// Undefined tensors are not there; of a norm only down and bias are, [size] each.
struct LayerChange {
  at::Tensor down;  // [r, in]; of a convolution [r, in, k, k]
  at::Tensor up;    // [out, r]
  double scale = 1;
  at::Tensor left = {};  // [out / out', in / in'], where up down is [out', in']
  at::Tensor bias = {};  // [out]: the same times scale, added to the layer's bias

  // DoRA (arXiv 2402.09353): every row of the changed weight is brought to the length `magnitude` [out]. Its
  // length before, at strength s, is the root of norms[0] + norms[1] s + norms[2] s²; norms: [3, out]
  // float32.
  at::Tensor magnitude = {}, norms = {};
  // What the weight of a LoRA with magnitudes means: a part of the strength (PEFT), or how much there is of
  // the whole change at its own strength.
  bool weight_is_strength = true;
};

// By layer, such as "unet.mid_block.attentions.0.proj_in". Immutable.
using Lora = std::unordered_map<std::string, LayerChange>;

struct WeightedLora {
  std::shared_ptr<const Lora> lora;
  double weight = 1;
};

// The LoRAs of one row.
using LoraSet = std::vector<WeightedLora>;

// While it lives, the layers that this thread runs obey the LoRAs of their rows; without one they obey none.
// Inside another it takes that one's place until its end.
class LoraRows {
 public:
  // One set for each row of the batch, or one for all rows there are. The sets outlive this.
  explicit LoraRows(std::vector<const LoraSet*> rows);
  ~LoraRows();
  LoraRows(const LoraRows&) = delete;
  LoraRows& operator=(const LoraRows&) = delete;

 private:
  std::vector<const LoraSet*> rows_;
  const std::vector<const LoraSet*>* outer_;
};

// The layers of the checkpoint whose weights a layer of the network holds, their outputs side by side, each
// [.., out]. Of their inputs it may get a part only, that begins at first_input.
struct LoraLayers {
  std::vector<std::string> names;
  std::int64_t first_input = 0;
  at::Tensor bias = {};  // of all of them, side by side; undefined without
};

// Whether any row's LoRAs change any of these layers now.
bool lora_changes(const LoraLayers& layers);

// f(row) → [1, ..] for each of so many rows, with no LoRAs active but that row's; concatenated. For kernels
// that do more at once than a layer with LoRAs can: rows that nothing changes keep their bits beside others.
at::Tensor each_lora_row(std::int64_t rows, const std::function<at::Tensor(std::int64_t row)>& f);

// y, of which the layers' LoRAs have been added for x: [B, .., in] → [B, .., out]; y is changed in place.
at::Tensor add_lora(const LoraLayers& layers, const at::Tensor& x, at::Tensor y);

// The same of a convolution: x: [B, in, H, W] → [B, out, H', W'].
at::Tensor add_lora(const LoraLayers& layers, const at::Tensor& x, at::Tensor y, std::int64_t stride,
                    std::int64_t padding);

// What one row's LoRAs make of a norm's weight and bias, [size] each; called while that row's alone are
// active.
struct NormWeights {
  at::Tensor weight, bias;
};
NormWeights changed_norm(const LoraLayers& layers, NormWeights plain);

}  // namespace diffused::nn
