#include "api/openai/step_fields.h"

#include <fmt/format.h>

#include <cmath>

namespace diffused::api {
namespace {

constexpr std::string_view kLevelsSchema =
    R"({"type": ["array", "null"], "maxItems": 1001, "items": {"type": "number", "minimum": 0, "maximum": 100000}})";
constexpr double kLevelMax = 100000;

constexpr std::string_view kLayersSchema =
    R"({"type": ["array", "null"], "maxItems": 128, "items": {"type": "integer", "minimum": 0, "maximum": 1023}})";
constexpr std::size_t kLayersMax = 128;
constexpr int kLayerMax = 1023;

constexpr double kSkipScaleMax = 100;

struct ListLimits {
  std::size_t items;
  double value;
  bool whole = false;
};

// An empty list is as none.
template <typename T>
Setter into_list(std::vector<T>& to, ListLimits limits) {
  return [&to, limits](const json::value& value) -> Result<void> {
    if (!value.is_array())
      return fail(ErrorCode::invalid_argument, "must be a list of numbers", {}, "invalid_type");
    const json::array& items = value.get_array();
    if (items.size() > limits.items)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("has {} numbers; at most {} are accepted", items.size(), limits.items));
    std::vector<T> read;
    for (const json::value& item : items) {
      const double number = item.is_number() ? item.to_number<double>() : -1;
      // Written so that NaN fails.
      if (!(number >= 0 && number <= limits.value) || (limits.whole && number != std::floor(number)))
        return fail(
            ErrorCode::invalid_argument,
            fmt::format("must hold {} from 0 to {}", limits.whole ? "integers" : "numbers", limits.value));
      read.push_back(static_cast<T>(number));
    }
    to = std::move(read);
    return {};
  };
}

}  // namespace

std::vector<Field> step_fields(const RequestLimits& limits, GenerateRequest& generate) {
  // Some schedulers end with a level more than there are steps.
  const ListLimits levels{.items = static_cast<std::size_t>(limits.steps_max) + 1, .value = kLevelMax};
  const ListLimits layers{.items = kLayersMax, .value = kLayerMax, .whole = true};
  return {
      any("sigmas", kLevelsSchema,
          "The steps' noise levels, falling, for schedulers that take them; their number is that of the "
          "steps.",
          into_list(generate.sigmas, levels)),
      any("timesteps", kLevelsSchema,
          "SD and SDXL: the steps' timesteps, falling, for schedulers that take them.",
          into_list(generate.timesteps, levels)),
      number("eta", 1, "DDIM and TCD: how much noise each step adds; absent: none.", into(generate.eta)),
      any("skip_guidance_layers", kLayersSchema,
          "SD3: the transformer's blocks that skip-layer guidance leaves out; absent: no such guidance.",
          into_list(generate.skip_guidance_layers, layers)),
      number("skip_layer_guidance_scale", kSkipScaleMax, "SD3: its strength; absent: 2.8.",
             into(generate.skip_layer_guidance_scale)),
      number("skip_layer_guidance_start", 1,
             "SD3: the share of the steps after which it begins; absent: 0.01.",
             into(generate.skip_layer_guidance_start)),
      number("skip_layer_guidance_stop", 1, "SD3: the share of the steps at which it ends; absent: 0.2.",
             into(generate.skip_layer_guidance_stop)),
  };
}

}  // namespace diffused::api
