#include "api/listed_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "api/loras.h"
#include "base/check.h"
#include "parameters/request_fields.h"

namespace diffused::api {
namespace {

template <typename T>
constexpr std::string_view kKind = std::is_integral_v<T> ? "integer" : "number";

template <typename T>
std::string list_schema(const FieldInfo& field) {
  return fmt::format(R"({{"type": ["array", "null"], "minItems": {}, "maxItems": {}, )"
                     R"("items": {{"type": "{}", "minimum": {}, "maximum": {}}}}})",
                     field.items_min, field.items_max, kKind<T>, field.range.least, field.range.most);
}

// A list's numbers. Errors: invalid_argument, without the field.
template <typename T>
Result<std::vector<T>> read_numbers(const json::value& value, const FieldInfo& field) {
  if (!value.is_array())
    return fail(ErrorCode::invalid_argument, "must be a list of numbers", {}, "invalid_type");
  const json::array& items = value.get_array();
  if (items.size() > field.items_max)
    return fail(ErrorCode::invalid_argument,
                fmt::format("has {} numbers; at most {} are accepted", items.size(), field.items_max));
  std::vector<T> read;
  for (const json::value& item : items) {
    const double number = item.is_number() ? item.to_number<double>() : std::nan("");
    // Written so that NaN fails.
    if (!(number >= field.range.least && number <= field.range.most) ||
        (std::is_integral_v<T> && number != std::floor(number)))
      return fail(ErrorCode::invalid_argument,
                  fmt::format("must hold {}s from {} to {}", kKind<T>, field.range.least, field.range.most));
    read.push_back(static_cast<T>(number));
  }
  return read;
}

// An empty list is as none.
template <typename T>
Field as_field(const FieldInfo& field, std::vector<T>& to) {
  return any(field.name, list_schema<T>(field), field.about,
             [field, &to](const json::value& value) -> Result<void> {
               TRY(to, read_numbers<T>(value, field));
               return {};
             });
}

// [height, width] or [top, left].
Field as_field(const FieldInfo& field, std::optional<std::array<int, 2>>& to) {
  return any(field.name, list_schema<int>(field), field.about,
             [field, &to](const json::value& value) -> Result<void> {
               const auto sides = read_numbers<int>(value, field);
               if (!sides || sides->size() != field.items_min) {
                 return fail(ErrorCode::invalid_argument,
                             fmt::format("must be two integers from {} to {}, in a list", field.range.least,
                                         field.range.most),
                             {}, value.is_array() ? "invalid_value" : "invalid_type");
               }
               to = {sides->at(0), sides->at(1)};
               return {};
             });
}

Field as_field(const FieldInfo& field, std::vector<LoraChoice>& to) {
  return any(field.name, std::string(kLorasSchema), field.about, into(to));
}

// {"mode", "threshold"}; the model's rules say which modes there are, and how much the threshold may be.
Field as_field(const FieldInfo& field, std::optional<StepCache>& to) {
  std::string schema = fmt::format(
      R"({{"type": ["object", "null"], "required": ["mode"], "properties": {{"mode": {{"type": "string"}}, )"
      R"("threshold": {{"type": "number", "exclusiveMinimum": {}, "maximum": {}}}}}}})",
      field.range.least, field.range.most);
  return any(field.name, std::move(schema), field.about, [&to](const json::value& value) -> Result<void> {
    const json::object* const object = value.if_object();
    const json::value* const mode = object ? object->if_contains("mode") : nullptr;
    const json::value* const threshold = object ? object->if_contains("threshold") : nullptr;
    if (!mode || !mode->is_string() || (threshold && !threshold->is_number()))
      return fail(ErrorCode::invalid_argument, R"(must be such as {"mode": "easy", "threshold": 0.1})", {},
                  "invalid_type");
    StepCache cache{.mode = std::string(mode->get_string())};
    if (threshold) cache.threshold = threshold->to_number<double>();
    to = std::move(cache);
    return {};
  });
}

Field as_field(const FieldInfo& field, std::optional<int>& to) {
  return integer(field.name, static_cast<int>(field.range.least), static_cast<int>(field.range.most),
                 field.about, into(to));
}

Field as_field(const FieldInfo& field, std::optional<double>& to) {
  Field made = number(field.name, field.range.most, field.about, into(to));
  made.minimum = field.range.least;
  return made;
}

template <typename Text>
Field as_text_field(const FieldInfo& field, Text& to) {
  Field made = text(field.name, field.range.most, field.about, into(to));
  made.minimum = field.range.least;
  std::ranges::copy_if(field.words, std::back_inserter(made.values),
                       [](std::string_view word) { return !word.empty(); });
  return made;
}
Field as_field(const FieldInfo& field, std::string& to) { return as_text_field(field, to); }
Field as_field(const FieldInfo& field, std::optional<std::string>& to) { return as_text_field(field, to); }

}  // namespace

FieldLimits field_limits(const RequestLimits& limits) {
  return {.steps_max = limits.steps_max,
          .side_max = limits.side_max,
          .prompt_characters_max = limits.prompt_characters_max,
          .guidance_scale_max = limits.guidance_scale_max};
}

std::vector<Field> listed_fields(const RequestLimits& limits, GenerateRequest& generate, bool with_picture) {
  std::vector<Field> fields;
  each_field(generate, field_limits(limits), [&](const FieldInfo& field, auto& member) {
    if (field.with_picture && !with_picture) return;
    fields.push_back(as_field(field, member));
    std::ranges::copy_if(field.aliases, std::back_inserter(fields.back().aliases),
                         [](std::string_view alias) { return !alias.empty(); });
  });
  return fields;
}

Field renamed(const std::vector<Field>& table, std::string_view name, std::string_view word,
              std::string_view description) {
  const auto found = std::ranges::find(table, name, &Field::name);
  CHECK(found != table.end());
  Field field = *found;
  field.name = word;
  field.aliases.clear();
  field.description = description;
  if (field.type == FieldType::string) field.minimum = 0;
  return field;
}

}  // namespace diffused::api
