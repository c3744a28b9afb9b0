// Members of JSON objects that are written and read by one list: each_member(value, visit).
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>
#include <optional>
#include <string_view>
#include <vector>

namespace diffused {

inline boost::json::string_view member_key(std::string_view name) { return {name.data(), name.size()}; }

// The value of a member; absent: null.
template <typename T>
boost::json::value write_member(const T& value) {
  return boost::json::value_from(value);
}
template <typename T>
boost::json::value write_member(const std::optional<T>& value) {
  return value ? boost::json::value_from(*value) : boost::json::value(nullptr);
}

// Reads a member that is there in any case. Throws what Boost.JSON's conversions throw.
template <typename T>
void read_member(const boost::json::object& object, std::string_view name, T& to) {
  to = boost::json::value_to<T>(object.at(member_key(name)));
}
// What was written before there was such a member leaves it as it is.
template <typename T>
void read_member(const boost::json::object& object, std::string_view name, std::optional<T>& to) {
  const boost::json::value* const value = object.if_contains(member_key(name));
  if (value && !value->is_null()) to = boost::json::value_to<T>(*value);
}
template <typename T>
void read_member(const boost::json::object& object, std::string_view name, std::vector<T>& to) {
  const boost::json::value* const value = object.if_contains(member_key(name));
  if (value) to = boost::json::value_to<std::vector<T>>(*value);
}

}  // namespace diffused
