// What all text encoders do with the ids and weights of a text.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace diffused::pipelines {

// Whether an encoder of so many tokens has these ids. Error: data_loss, naming the tokenizer.
Result<void> check_ids(const std::vector<int>& ids, std::int64_t vocabulary, const std::string& tokenizer);

// The ids as a network takes them: [1, L] int64.
at::Tensor id_tensor(std::span<const int> ids, at::Device device);

// states: [1, L, D]. Each token's times its weight; then all times what gives them the mean they had before.
at::Tensor emphasised(const at::Tensor& states, std::span<const float> weights);

}  // namespace diffused::pipelines
