// Low-rank adaptation (arXiv 2106.09685): small changes of a network's linears and convolutions that a
// request chooses. The weights stay as they are; a layer adds to its result what the LoRAs of its row say, so
// rows with different ones share a forward pass.
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

// What is added to a layer's result for x: scale * up (down x).
struct LowRank {
  at::Tensor down;  // [r, in]; of a convolution [r, in, k, k]
  at::Tensor up;    // [out, r]
  double scale = 1;
};

// By layer, such as "unet.mid_block.attentions.0.proj_in". Immutable; a layer may be changed more than once.
using Lora = std::unordered_multimap<std::string, LowRank>;

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

}  // namespace diffused::nn
