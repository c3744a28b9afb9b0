// What a model is asked for when a request names nothing, in place of what its family says. Free of torch.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"

namespace diffused::pipelines {

struct ModelDefaults {
  std::optional<int> steps;
  std::optional<double> guidance_scale;

  bool operator==(const ModelDefaults&) const = default;
};

// Reads "steps=8,guidance=0": either or both, each once. Error: invalid_argument, field "defaults".
Result<ModelDefaults> parse_model_defaults(std::string_view text);

}  // namespace diffused::pipelines
