// Typed reading of a component's config.json.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace diffused::models {

// Reads keys one after the other and remembers the first thing that was wrong; the values after that are
// fallbacks and must not be used: end with finish(). A key that is absent gives the fallback, and so does
// null where the method says so; keys never asked for are ignored.
class ConfigReader {
 public:
  explicit ConfigReader(const boost::json::object& json) : json_(json) {}

  // A whole number from 1 to 2^31 - 1 (from 0 with `least`). Null is a wrong type.
  std::int64_t integer(std::string_view key, std::int64_t fallback, std::int64_t least = 1);
  // A finite number. Null is a wrong type.
  double number(std::string_view key, double fallback);
  // A finite number, or empty for null and absent.
  std::optional<double> optional_number(std::string_view key);
  bool boolean(std::string_view key, bool fallback);
  // Null gives the fallback.
  std::string text(std::string_view key, std::string_view fallback);
  // A list of finite numbers. Null gives an empty one.
  std::vector<double> numbers(std::string_view key);
  // A list of whole numbers, each at least `least`. Null gives the fallback.
  std::vector<std::int64_t> integers(std::string_view key, std::vector<std::int64_t> fallback,
                                     std::int64_t least);
  // `count` whole numbers: a list of so many, or one for all of them.
  std::vector<std::int64_t> repeated(std::string_view key, std::int64_t fallback, std::size_t count,
                                     std::int64_t least = 1);
  // counts.size() entries: a list of so many, or one for all of them. Each is a whole number, which stands
  // for counts[i] of it, or a list of at least that many, of which the first are taken.
  std::vector<std::vector<std::int64_t>> nested(std::string_view key, std::int64_t fallback,
                                                const std::vector<std::int64_t>& counts, std::int64_t least);
  // As many even numbers as `parts` has, from 0 up, whose sum is that of another key. Changes `parts` to
  // them.
  void even_parts(std::string_view key, std::span<std::int64_t> parts, std::string_view sum_key,
                  std::int64_t sum);
  // Whether the key is a list with a list in it.
  bool is_nested(std::string_view key) const;
  // A list of strings. Null gives an empty one.
  std::vector<std::string> texts(std::string_view key);

  // Whether the key is there and not null.
  bool is_given(std::string_view key) const;
  // Whether the key is there and null.
  bool is_null(std::string_view key) const;

  // Records that `key` has a value no network can have, unless something was wrong before.
  void refuse(std::string_view key, std::string_view why, ErrorCode code = ErrorCode::invalid_argument);
  // refuse() unless `condition`.
  void require(bool condition, std::string_view key, std::string_view why);

  // The same for what a network may have, and those here do not: ErrorCode::unsupported.
  void support(bool condition, std::string_view key, std::string_view why);

  // Whether nothing was wrong so far.
  bool good() const { return !error_; }
  // The config when nothing was wrong, else the first error.
  template <typename Config>
  Result<Config> finish(Config config) const {
    if (error_) return tl::unexpected<Error>(*error_);
    return config;
  }

 private:
  const boost::json::value* find(std::string_view key) const;  // null when absent

  const boost::json::object& json_;
  std::optional<Error> error_;
};

}  // namespace diffused::models
