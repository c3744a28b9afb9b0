#include <fmt/format.h>
#include <boost/json/parse.hpp>

#include "api/fields.h"

namespace diffused::api {
namespace {

namespace json = boost::json;

json::string_view key(std::string_view text) { return {text.data(), text.size()}; }

// A bound as people would write it.
json::value bound(const Field& field, double number) {
  return field.type == FieldType::integer ? json::value(static_cast<std::int64_t>(number))
                                          : json::value(number);
}

json::object with_type(std::string_view type, bool required) {
  if (required) return {{"type", type}};
  return {{"type", json::array{type, "null"}}};
}

bool is_required(const Field& field) { return field.type == FieldType::string && field.minimum > 0; }

json::object string_schema(const Field& field) {
  json::object schema = with_type("string", is_required(field));
  if (field.minimum > 0) schema["minLength"] = static_cast<std::int64_t>(field.minimum);
  if (field.maximum > 0) schema["maxLength"] = static_cast<std::int64_t>(field.maximum);
  if (field.values.empty()) return schema;
  json::array values(field.values.begin(), field.values.end());
  values.push_back(nullptr);
  schema["enum"] = std::move(values);
  return schema;
}

json::object number_schema(const Field& field, std::string_view type) {
  json::object schema = with_type(type, false);
  schema["minimum"] = bound(field, field.minimum);
  schema["maximum"] = bound(field, field.maximum);
  return schema;
}

// What programs write for a truth where it is read as read_truth does, in the cases in which they write it.
json::object truth_schema() {
  json::array words{true, false, nullptr, 0, 1, ""};
  for (const char* word : {"true", "True", "false", "False", "on", "off", "yes", "no", "1", "0"})
    words.emplace_back(word);
  return {{"enum", std::move(words)}};
}

json::object type_schema(const Field& field, Source source) {
  switch (field.type) {
    case FieldType::string:
      return string_schema(field);
    case FieldType::integer:
      return number_schema(field, "integer");
    case FieldType::number:
      return number_schema(field, "number");
    case FieldType::boolean:
      return source == Source::form ? truth_schema() : with_type("boolean", false);
    case FieldType::any:
      break;
  }
  return json::parse(key(field.schema)).as_object();
}

}  // namespace

json::object schema_of(std::span<const Field> table, Source source) {
  json::object properties;
  json::array required;
  for (const Field& field : table) {
    json::object schema = type_schema(field, source);
    for (const std::string_view alias : field.aliases) {
      schema["description"] = fmt::format("Another name for {}.", field.name);
      properties[key(alias)] = schema;
    }
    schema["description"] = field.description;
    properties[key(field.name)] = std::move(schema);
    if (is_required(field)) required.emplace_back(field.name);
  }
  json::object schema{{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

}  // namespace diffused::api
