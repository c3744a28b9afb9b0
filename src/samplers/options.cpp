#include "samplers/options.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cmath>

namespace diffused::samplers {

namespace json = boost::json;

namespace {

constexpr double kCountMax = 1 << 24;  // every count up to it is exact in float32

}  // namespace

void Options::read(const char* key, bool& value) {
  const json::value* const found = find(key);
  if (found && !found->is_bool()) refuse(key, "true or false");
  if (found && found->is_bool()) value = found->get_bool();
}

void Options::read(const char* key, double& value) {
  std::optional<double> found;
  read(key, found);
  value = found.value_or(value);
}

void Options::read(const char* key, std::optional<double>& value) {
  const json::value* const found = find(key);
  if (!found) return;
  json::error_code ec;
  const double number = found->to_number<double>(ec);
  if (ec || !std::isfinite(number)) return refuse(key, "a number");
  value = number;
}

void Options::read(const char* key, int& value) {
  double number = value;
  read(key, number);
  if (number != std::floor(number) || number < 1 || number > kCountMax)
    return refuse(key, "a count of 1 or more");
  value = static_cast<int>(number);
}

void Options::read_integer(const char* key, int& value) {
  double number = value;
  read(key, number);
  if (number != std::floor(number) || std::abs(number) > kCountMax) return refuse(key, "a whole number");
  value = static_cast<int>(number);
}

void Options::read_list(const char* key, std::vector<double>& values) {
  const json::value* const found = find(key);
  if (!found) return;
  if (!found->is_array()) return refuse(key, "a list of numbers");
  values.clear();
  for (const json::value& item : found->get_array()) {
    json::error_code ec;
    values.push_back(item.to_number<double>(ec));
    if (ec || !std::isfinite(values.back())) return refuse(key, "a list of numbers");
  }
}

void Options::refuse(const char* key, const std::string& expected) {
  if (!error_) error_ = Error{ErrorCode::data_loss, fmt::format("'{}' must be {}", key, expected), key, {}};
}

const json::value* Options::find(const char* key) const {
  const json::value* const found = object_.if_contains(key);
  return found && !found->is_null() ? found : nullptr;
}

std::optional<std::string> Options::text(const char* key) {
  const json::value* const found = find(key);
  if (!found) return std::nullopt;
  if (!found->is_string()) {
    refuse(key, "a text");
    return std::nullopt;
  }
  return std::string(found->get_string());
}

}  // namespace diffused::samplers
