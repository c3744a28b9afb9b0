#include "pipelines/encoder_text.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>

namespace diffused::pipelines {

Result<void> check_ids(const std::vector<int>& ids, std::int64_t vocabulary, const std::string& tokenizer) {
  const int largest = ids.empty() ? 0 : *std::ranges::max_element(ids);
  if (largest < vocabulary) return {};
  return fail(ErrorCode::data_loss, fmt::format("{} gives token id {}, but its text encoder has {} tokens",
                                                tokenizer, largest, vocabulary));
}

at::Tensor id_tensor(std::span<const int> ids, at::Device device) {
  return at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong)
      .unsqueeze(0)
      .to(device);  // [1, L]
}

at::Tensor emphasised(const at::Tensor& states, std::span<const float> weights) {
  if (std::ranges::all_of(weights, [](float weight) { return weight == 1; })) return states;
  const at::Tensor x = states.to(at::kFloat);
  const at::Tensor factors = at::tensor(std::vector<float>(weights.begin(), weights.end()), at::kFloat)
                                 .to(x.device())
                                 .unsqueeze(-1);  // [L, 1]
  const at::Tensor weighted = x * factors;
  const at::Tensor ratio = x.mean() / weighted.mean();
  // Weights of zero, say, leave no mean to go by.
  return (at::isfinite(ratio).item<bool>() ? weighted * ratio : weighted).to(states.scalar_type());
}

}  // namespace diffused::pipelines
