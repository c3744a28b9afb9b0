#include "pipelines/model_defaults.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace diffused::pipelines {
namespace {

constexpr int kDefaultStepsMax = 1000;

// The whole text as a number; nothing when it is none.
template <typename T>
std::optional<T> number_of(std::string_view text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

tl::unexpected<Error> wrong_defaults(std::string_view text, std::string_view why) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("'{}': {}; wanted is such as steps=8,guidance=0", text, why), "defaults");
}

}  // namespace

Result<ModelDefaults> parse_model_defaults(std::string_view text) {
  ModelDefaults defaults;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    const std::size_t equals = std::min(part.find('='), part.size());
    const std::string_view name = part.substr(0, equals);
    const std::string_view value = part.substr(std::min(equals + 1, part.size()));
    if (name == "steps" && !defaults.steps) {
      defaults.steps = number_of<int>(value);
      if (!defaults.steps || *defaults.steps < 1 || *defaults.steps > kDefaultStepsMax)
        return wrong_defaults(text, fmt::format("steps must be 1 to {}", kDefaultStepsMax));
    } else if (name == "guidance" && !defaults.guidance_scale) {
      defaults.guidance_scale = number_of<double>(value);
      if (!defaults.guidance_scale || !std::isfinite(*defaults.guidance_scale))
        return wrong_defaults(text, "guidance must be a number");
    } else {
      return wrong_defaults(text, "steps and guidance may be named, each once");
    }
  }
  if (defaults == ModelDefaults{}) return wrong_defaults(text, "names nothing");
  return defaults;
}

}  // namespace diffused::pipelines
