// Steps of a picture that need not be made, because what the network would say is foretold from what
// it said before (docs/decisions/0031-steps-that-are-foretold.md). Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace diffused {

inline constexpr const char* kNoCache = "none";  // every step is made
inline constexpr const char* kEasyCache = "easy";

struct StepCache {
  std::string mode = kNoCache;
  // How far a step that is skipped may be from one that is made: more than 0, at most kCacheThresholdMax.
  // Absent: the mode's own.
  std::optional<double> threshold = {};

  bool on() const { return mode != kNoCache; }
  bool operator==(const StepCache&) const = default;
};

constexpr double kCacheThresholdMax = 10;

// The cache with its mode's own threshold where it names none; nothing is "none".
StepCache with_threshold(const std::optional<StepCache>& cache);

// Whether the mode is "none" or one of `modes`, and the threshold in its range. Errors: invalid_argument,
// unsupported where there are no modes; field "cache".
Result<void> check_step_cache(const StepCache& cache, const std::vector<std::string>& modes);

// Reads "easy", "easy=0.1" or "none". Error: invalid_argument, field "cache".
Result<StepCache> parse_step_cache(std::string_view text);
// The same the other way round.
std::string write_step_cache(const StepCache& cache);

}  // namespace diffused
