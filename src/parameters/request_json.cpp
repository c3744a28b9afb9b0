#include "parameters/request_json.h"

#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>

#include "parameters/request_fields.h"

namespace diffused {
namespace {

namespace json = boost::json;

json::string_view key_of(std::string_view name) { return {name.data(), name.size()}; }

template <typename T>
json::value to_value(const T& value) {
  return json::value_from(value);
}
template <typename T>
json::value to_value(const std::optional<T>& value) {
  return value ? json::value_from(*value) : json::value(nullptr);
}
json::value to_value(const std::vector<LoraChoice>& loras) { return write_loras(loras); }
json::value to_value(const std::optional<StepCache>& cache) {
  return cache ? json::value(write_step_cache(*cache)) : json::value(nullptr);
}

template <typename T>
void from_member(const json::object& object, std::string_view name, T& to) {
  to = json::value_to<T>(object.at(key_of(name)));
}
// A row that was written before there was such a member leaves it empty.
template <typename T>
void from_member(const json::object& object, std::string_view name, std::optional<T>& to) {
  const json::value* const value = object.if_contains(key_of(name));
  if (value && !value->is_null()) to = json::value_to<T>(*value);
}
template <typename T>
void from_member(const json::object& object, std::string_view name, std::vector<T>& to) {
  const json::value* const value = object.if_contains(key_of(name));
  if (value) to = json::value_to<std::vector<T>>(*value);
}
void from_member(const json::object& object, std::string_view name, std::vector<LoraChoice>& to) {
  if (const json::value* const value = object.if_contains(key_of(name))) to = read_loras(*value);
}

void from_member(const json::object& object, std::string_view name, std::optional<StepCache>& to) {
  const json::value* const value = object.if_contains(key_of(name));
  if (value && !value->is_null()) to = parse_step_cache(json::value_to<std::string>(*value)).value();
}

// Calls `visit` with the name and the value of each member of a row: the one list for both directions.
template <typename Request, typename Visit>
void each_member(Request& request, const Visit& visit) {
  visit("model", request.model);
  each_field(request, [&](const FieldInfo& field, auto& value) { visit(field.name, value); });
  visit("seeds", request.seeds);
  visit("variation_seeds", request.variation_seeds);
  visit("variation_strength", request.variation_strength);
}

bool says_something(const std::string& text) { return !text.empty(); }
template <typename T>
bool says_something(const std::vector<T>& list) {
  return !list.empty();
}
template <typename T>
bool says_something(const std::optional<T>& value) {
  return value.has_value();
}
bool says_something(const std::optional<StepCache>& cache) { return cache && cache->on(); }
// No count that may be 0 means anything else by it than by its absence.
bool says_something(const std::optional<int>& value) { return value.value_or(0) != 0; }

}  // namespace

void write_request(const GenerateRequest& request, json::object& to) {
  each_member(request, [&](std::string_view name, const auto& value) { to[key_of(name)] = to_value(value); });
}

void read_request(const json::object& from, GenerateRequest& request) {
  each_member(request, [&](std::string_view name, auto& value) { from_member(from, name, value); });
}

void write_given_fields(const GenerateRequest& request, json::object& to) {
  each_field(request, [&](const FieldInfo& field, const auto& value) {
    if (says_something(value) && !to.contains(key_of(field.name))) to[key_of(field.name)] = to_value(value);
  });
}

json::array write_loras(std::span<const LoraChoice> loras) {
  json::array list;
  for (const LoraChoice& lora : loras) {
    json::object item{{"name", lora.name}, {"weight", lora.weight}};
    if (lora.text_weight) item["text_weight"] = *lora.text_weight;
    list.push_back(std::move(item));
  }
  return list;
}

std::vector<LoraChoice> read_loras(const json::value& list) {
  std::vector<LoraChoice> loras;
  for (const json::value& item : list.as_array()) {
    loras.push_back({json::value_to<std::string>(item.at("name")), item.at("weight").to_number<double>()});
    if (const json::value* const weight = item.as_object().if_contains("text_weight"))
      loras.back().text_weight = weight->to_number<double>();
  }
  return loras;
}

}  // namespace diffused
