#include "parameters/request_json.h"

#include "parameters/json_members.h"
#include "parameters/request_fields.h"

namespace diffused {
namespace {

namespace json = boost::json;

json::value write_member(const std::vector<LoraChoice>& loras) { return write_loras(loras); }
void read_member(const json::object& object, std::string_view name, std::vector<LoraChoice>& to) {
  if (const json::value* const value = object.if_contains(member_key(name))) to = read_loras(*value);
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
// No count that may be 0 means anything else by it than by its absence.
bool says_something(const std::optional<int>& value) { return value.value_or(0) != 0; }

}  // namespace

void write_request(const GenerateRequest& request, json::object& to) {
  each_member(request,
              [&](std::string_view name, const auto& value) { to[member_key(name)] = write_member(value); });
}

void read_request(const json::object& from, GenerateRequest& request) {
  each_member(request, [&](std::string_view name, auto& value) { read_member(from, name, value); });
}

void write_given_fields(const GenerateRequest& request, json::object& to) {
  each_field(request, [&](const FieldInfo& field, const auto& value) {
    if (says_something(value) && !to.contains(member_key(field.name)))
      to[member_key(field.name)] = write_member(value);
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
