#include "pipelines/family.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <bit>

namespace diffused::pipelines {

std::string PromptIds::key() const {
  std::vector<int> parts = {clip_skip, max_sequence_length, zeros, chunks};
  for (const EncoderText& text : texts) {
    parts.push_back(static_cast<int>(text.ids.size()));
    parts.insert(parts.end(), text.ids.begin(), text.ids.end());
    parts.push_back(static_cast<int>(text.weights.size()));
    for (const float weight : text.weights) parts.push_back(std::bit_cast<int>(weight));
  }
  return {reinterpret_cast<const char*>(parts.data()), parts.size() * sizeof(int)};
}

at::Tensor Family::fill(const at::Tensor& mask, const at::Tensor& kept) const {
  return at::cat({at::upsample_nearest2d(mask, kept.sizes().slice(2)), kept}, 1);  // [1, 1 + C, h, w]
}

std::size_t PromptEmbedding::bytes() const {
  std::size_t sum = 0;
  for (const at::Tensor* tensor : {&context, &repeats, &pooled})
    sum += tensor->defined() ? tensor->nbytes() : 0;
  return sum;
}

}  // namespace diffused::pipelines
