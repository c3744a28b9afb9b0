#include "models/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <limits>
#include <numeric>

namespace diffused::models {
namespace {

constexpr std::int64_t kIntegerMax = std::numeric_limits<std::int32_t>::max();

bool is_integer(const boost::json::value& value, std::int64_t least) {
  return value.is_int64() && value.get_int64() >= least && value.get_int64() <= kIntegerMax;
}

bool is_finite_number(const boost::json::value& value) {
  return value.is_number() && std::isfinite(value.to_number<double>());
}

}  // namespace

const boost::json::value* ConfigReader::find(std::string_view key) const { return json_.if_contains(key); }

bool ConfigReader::is_given(std::string_view key) const {
  const auto* value = find(key);
  return value != nullptr && !value->is_null();
}

bool ConfigReader::is_null(std::string_view key) const {
  const auto* value = find(key);
  return value != nullptr && value->is_null();
}

std::int64_t ConfigReader::integer(std::string_view key, std::int64_t fallback, std::int64_t least) {
  const auto* value = find(key);
  if (value == nullptr) return fallback;
  if (is_integer(*value, least)) return value->get_int64();
  refuse(key, fmt::format("must be a whole number from {} to {}", least, kIntegerMax));
  return fallback;
}

double ConfigReader::number(std::string_view key, double fallback) {
  const auto* value = find(key);
  if (value == nullptr) return fallback;
  if (is_finite_number(*value)) return value->to_number<double>();
  refuse(key, "must be a number");
  return fallback;
}

std::vector<double> ConfigReader::numbers(std::string_view key) {
  const auto* value = find(key);
  if (value == nullptr || value->is_null()) return {};
  if (!value->is_array() || !std::ranges::all_of(value->get_array(), is_finite_number)) {
    refuse(key, "must be a list of numbers");
    return {};
  }
  std::vector<double> items;
  for (const auto& item : value->get_array()) items.push_back(item.to_number<double>());
  return items;
}

std::optional<double> ConfigReader::optional_number(std::string_view key) {
  const auto* value = find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return number(key, 0);
}

bool ConfigReader::boolean(std::string_view key, bool fallback) {
  const auto* value = find(key);
  if (value == nullptr) return fallback;
  if (value->is_bool()) return value->get_bool();
  refuse(key, "must be true or false");
  return fallback;
}

std::string ConfigReader::text(std::string_view key, std::string_view fallback) {
  const auto* value = find(key);
  if (value == nullptr || value->is_null()) return std::string(fallback);
  if (value->is_string()) return std::string(value->get_string());
  refuse(key, "must be a string");
  return std::string(fallback);
}

std::vector<std::int64_t> ConfigReader::integers(std::string_view key, std::vector<std::int64_t> fallback,
                                                 std::int64_t least) {
  const auto* value = find(key);
  if (value == nullptr || value->is_null()) return fallback;
  const auto fits = [&](const boost::json::value& item) { return is_integer(item, least); };
  if (!value->is_array() || !std::ranges::all_of(value->get_array(), fits)) {
    refuse(key, fmt::format("must be a list of whole numbers of at least {}", least));
    return fallback;
  }
  std::vector<std::int64_t> items;
  for (const auto& item : value->get_array()) items.push_back(item.get_int64());
  return items;
}

std::vector<std::int64_t> ConfigReader::repeated(std::string_view key, std::int64_t fallback,
                                                 std::size_t count, std::int64_t least) {
  const auto* value = find(key);
  if (value == nullptr || !value->is_array())
    return std::vector<std::int64_t>(count, integer(key, fallback, least));
  std::vector<std::int64_t> items = integers(key, {}, least);
  require(items.size() == count, key, fmt::format("must be one number or a list of {}", count));
  items.resize(count, fallback);
  return items;
}

void ConfigReader::even_parts(std::string_view key, std::span<std::int64_t> parts, std::string_view sum_key,
                              std::int64_t sum) {
  const std::vector<std::int64_t> given = integers(key, {parts.begin(), parts.end()}, /*least=*/0);
  const bool fit = given.size() == parts.size() &&
                   std::ranges::all_of(given, [](std::int64_t part) { return part % 2 == 0; }) &&
                   std::accumulate(given.begin(), given.end(), std::int64_t{0}) == sum;
  require(fit, key, fmt::format("must be {} even numbers with the sum {} = {}", parts.size(), sum_key, sum));
  if (fit) std::ranges::copy(given, parts.begin());
}

bool ConfigReader::is_nested(std::string_view key) const {
  const auto* value = find(key);
  return value != nullptr && value->is_array() &&
         std::ranges::any_of(value->get_array(),
                             [](const boost::json::value& item) { return item.is_array(); });
}

std::vector<std::vector<std::int64_t>> ConfigReader::nested(std::string_view key, std::int64_t fallback,
                                                            const std::vector<std::int64_t>& counts,
                                                            std::int64_t least) {
  std::vector<std::vector<std::int64_t>> entries;
  const auto all_of = [&](std::size_t i, std::int64_t number) {
    entries.emplace_back(static_cast<std::size_t>(counts[i]), number);
  };
  if (!is_nested(key)) {
    const std::vector<std::int64_t> numbers = repeated(key, fallback, counts.size(), least);
    for (std::size_t i = 0; i < counts.size(); ++i) all_of(i, numbers[i]);
    return entries;
  }
  const boost::json::array& items = find(key)->get_array();
  require(items.size() == counts.size(), key, fmt::format("must have {} entries", counts.size()));
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const boost::json::value item = i < items.size() ? items[i] : boost::json::value(fallback);
    if (!item.is_array()) {
      require(is_integer(item, least), key, fmt::format("must have whole numbers of at least {}", least));
      all_of(i, good() ? item.get_int64() : fallback);
      continue;
    }
    const auto& list = item.get_array();
    const auto fits = [&](const boost::json::value& one) { return is_integer(one, least); };
    require(std::ssize(list) >= counts[i] && std::ranges::all_of(list, fits), key,
            fmt::format("must have lists of at least {} whole numbers for entry {}", counts[i], i));
    all_of(i, fallback);
    if (!good()) continue;
    for (std::size_t j = 0; j < entries.back().size(); ++j) entries.back()[j] = list[j].get_int64();
  }
  return entries;
}

std::vector<std::string> ConfigReader::texts(std::string_view key) {
  const auto* value = find(key);
  if (value == nullptr || value->is_null()) return {};
  const auto is_string = [](const boost::json::value& item) { return item.is_string(); };
  if (!value->is_array() || !std::ranges::all_of(value->get_array(), is_string)) {
    refuse(key, "must be a list of strings");
    return {};
  }
  std::vector<std::string> items;
  for (const auto& item : value->get_array()) items.emplace_back(item.get_string());
  return items;
}

void ConfigReader::refuse(std::string_view key, std::string_view why, ErrorCode code) {
  if (!error_) error_ = Error{code, fmt::format("config.json: \"{}\" {}", key, why), std::string(key), {}};
}

void ConfigReader::require(bool condition, std::string_view key, std::string_view why) {
  if (!condition) refuse(key, why);
}

void ConfigReader::support(bool condition, std::string_view key, std::string_view why) {
  if (!condition) refuse(key, why, ErrorCode::unsupported);
}

}  // namespace diffused::models
