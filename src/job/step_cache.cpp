#include "job/step_cache.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

namespace diffused {
namespace {

// Chosen, not yet measured against what pictures lose (docs/decisions/0031).
constexpr double kEasyThreshold = 0.1;

tl::unexpected<Error> wrong_cache(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message), "cache");
}

}  // namespace

StepCache with_threshold(const std::optional<StepCache>& cache) {
  StepCache whole = cache.value_or(StepCache{});
  if (!whole.on())
    whole.threshold.reset();
  else if (!whole.threshold)
    whole.threshold = kEasyThreshold;
  return whole;
}

Result<void> check_step_cache(const StepCache& cache, const std::vector<std::string>& modes) {
  if (!cache.on()) return {};
  if (modes.empty())
    return fail(ErrorCode::unsupported, "this model makes every step: it has no cache", "cache");
  if (std::ranges::find(modes, cache.mode) == modes.end())
    return wrong_cache(
        fmt::format("cache mode must be none, {}, not {}", fmt::join(modes, ", "), cache.mode));
  // Not the other way round, so that NaN is refused too.
  if (cache.threshold && !(*cache.threshold > 0 && *cache.threshold <= kCacheThresholdMax))
    return wrong_cache(
        fmt::format("the threshold of a cache must be more than 0 and at most {}", kCacheThresholdMax));
  return {};
}

Result<StepCache> parse_step_cache(std::string_view text) {
  const std::size_t equals = text.find('=');
  StepCache cache{.mode = std::string(text.substr(0, equals))};
  if (equals != std::string_view::npos) {
    const std::string_view number = text.substr(equals + 1);
    double threshold = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), threshold);
    if (error != std::errc() || end != number.data() + number.size())
      return wrong_cache(fmt::format("'{}' is no number; wanted is such as easy=0.1", number));
    cache.threshold = threshold;
  }
  TRY_VOID(check_step_cache(cache, {kEasyCache}));
  return cache;
}

std::string write_step_cache(const StepCache& cache) {
  return cache.threshold ? fmt::format("{}={}", cache.mode, *cache.threshold) : cache.mode;
}

}  // namespace diffused
