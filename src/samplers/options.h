// Reading a scheduler_config.json: one option after the other, with Diffusers' defaults.
#pragma once

#include <boost/json/object.hpp>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace diffused::samplers {

// Unknown keys are never looked at; absent and null ones leave a value as it is. The first option that does
// not fit is remembered. The object must outlive this.
class Options {
 public:
  explicit Options(const boost::json::object& object) : object_(object) {}

  void read(const char* key, bool& value);
  void read(const char* key, double& value);  // finite
  void read(const char* key, std::optional<double>& value);
  void read(const char* key, int& value);  // a count of 1 to 2^24
  // The value that stands beside the option's text; `value` when it is absent.
  template <typename Enum>
  void read(const char* key, Enum& value, std::initializer_list<std::pair<const char*, Enum>> words) {
    const std::optional<std::string> found = text(key);
    if (!found) return;
    std::string expected;
    for (const auto& [word, meaning] : words) {
      if (*found == word) {
        value = meaning;
        return;
      }
      expected += (expected.empty() ? "" : " or ") + std::string(word);
    }
    refuse(key, expected);
  }
  // A whole number of any sign.
  void read_integer(const char* key, int& value);
  void read_list(const char* key, std::vector<double>& values);
  bool has(const char* key) const { return find(key) != nullptr; }

  void refuse(const char* key, const std::string& expected);
  const std::optional<Error>& error() const { return error_; }

 private:
  const boost::json::value* find(const char* key) const;
  std::optional<std::string> text(const char* key);

  const boost::json::object& object_;
  std::optional<Error> error_;
};

}  // namespace diffused::samplers
