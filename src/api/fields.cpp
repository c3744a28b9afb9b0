#include "api/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/parse.hpp>
#include <cmath>

#include "api/errors.h"

namespace diffused::api {
namespace {

namespace json = boost::json;

// Members in which some clients put what their library does not know.
constexpr std::array<std::string_view, 3> kWrappers{"extra_body", "extra_params", "parameters"};

constexpr double kWholeMax = 9007199254740992.0;  // 2^53: a double up to here is a whole number exactly
constexpr double kInt64End = 9223372036854775808.0, kUint64End = 18446744073709551616.0;  // 2^63, 2^64

// As pydantic, and with it A1111, reads them, in any case.
constexpr std::array<std::string_view, 6> kTrue{"1", "on", "t", "true", "y", "yes"};
constexpr std::array<std::string_view, 6> kFalse{"0", "off", "f", "false", "n", "no"};

tl::unexpected<Error> wrong_type(std::string_view expected) {
  return fail(ErrorCode::invalid_argument, fmt::format("must be {}", expected), {}, "invalid_type");
}
tl::unexpected<Error> wrong_value(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message), {}, "invalid_value");
}

std::string_view view(const json::string& text) { return {text.data(), text.size()}; }

std::size_t characters(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

Result<json::value> checked_string(const Field& field, const json::value& value) {
  if (!value.is_string()) return wrong_type("a string");
  const std::string_view text = view(value.get_string());
  if (!field.values.empty() &&
      std::find(field.values.begin(), field.values.end(), text) == field.values.end())
    return wrong_value(fmt::format("must be one of {}", fmt::join(field.values, ", ")));
  const std::size_t length = characters(text);
  if (length < field.minimum) return wrong_value("must not be empty");
  if (field.maximum > 0 && length > field.maximum)
    return wrong_value(fmt::format("has {} characters; at most {} are accepted", length, field.maximum));
  return value;
}

Result<json::value> checked_number(const Field& field, const json::value& value) {
  const bool whole = field.type == FieldType::integer;
  const std::string_view expected = whole ? "an integer" : "a number";
  if (!value.is_number()) return wrong_type(expected);
  const double number = value.to_number<double>();
  if (whole && std::abs(number) <= kWholeMax && number != std::floor(number)) return wrong_type(expected);
  // Written so that NaN fails.
  if (!(number >= field.minimum && number <= field.maximum))
    return wrong_value(fmt::format("must be {} from {} to {}", expected, field.minimum, field.maximum));
  if (whole) return json::value(static_cast<std::int64_t>(number));
  return json::value(number);
}

Result<json::value> checked_truth(const json::value& value, Source source) {
  const auto truth = source == Source::form ? read_truth(value)
                     : value.is_bool()      ? std::optional(value.get_bool())
                                            : std::nullopt;
  return truth ? Result<json::value>(*truth) : wrong_type("true or false");
}

Result<json::value> checked(const Field& field, const json::value& value, Source source) {
  switch (field.type) {
    case FieldType::string:
      return checked_string(field, value);
    case FieldType::integer:
    case FieldType::number:
      return checked_number(field, value);
    case FieldType::boolean:
      return checked_truth(value, source);
    case FieldType::any:
      break;
  }
  return value;
}

// A form's text as the JSON value it would have been; text that is none stays text, and fails the type check.
json::value parsed_text(const json::value& value) {
  if (const auto* object = value.if_object()) {
    json::object members;
    for (const auto& [key, item] : *object) members[key] = parsed_text(item);
    return members;
  }
  if (const auto* list = value.if_array()) {
    json::array items;
    for (const json::value& item : *list) items.push_back(parsed_text(item));
    return items;
  }
  if (!value.is_string()) return value;
  std::string_view text = view(value.get_string());
  if (text.size() > 1 && text[0] == '+' && text[1] >= '0' && text[1] <= '9') text.remove_prefix(1);
  boost::system::error_code error;
  json::value parsed = json::parse({text.data(), text.size()}, error);
  return error ? value : parsed;
}

// Forms have no null: what was left empty is not there, unless an empty text may be meant.
bool is_absent(const Field& field, const json::value& value) {
  const bool plain_text = field.type == FieldType::string && field.values.empty();
  return value.is_null() || (!plain_text && value.is_string() && value.get_string().empty());
}

// The member that holds the field, by its canonical name or else by an alias, or null.
const json::key_value_pair* find(const Field& field, std::span<const json::object* const> objects) {
  const auto by_name = [&](std::string_view name) -> const json::key_value_pair* {
    for (const json::object* object : objects) {
      const auto member = object->find({name.data(), name.size()});
      if (member != object->end() && !is_absent(field, member->value())) return &*member;
    }
    return nullptr;
  };
  if (const auto* member = by_name(field.name)) return member;
  for (const std::string_view alias : field.aliases)
    if (const auto* member = by_name(alias)) return member;
  return nullptr;
}

// Errors: the place inside of the value, and the message without it.
Result<void> read_value(const Field& field, const json::value& sent, Source source) {
  const bool as_typed = source == Source::form && field.type != FieldType::string;
  TRY(const json::value value, checked(field, as_typed ? parsed_text(sent) : sent, source));
  return field.set(value);
}

template <typename T, typename Read>
Setter stored(T& to, Read read) {
  return [&to, read](const json::value& value) -> Result<void> {
    to = read(value);
    return {};
  };
}
std::string as_text(const json::value& value) { return std::string(view(value.get_string())); }
int as_int(const json::value& value) { return static_cast<int>(value.get_int64()); }

}  // namespace

std::optional<bool> read_truth(const json::value& value) {
  if (value.is_bool()) return value.get_bool();
  std::string word;
  if (value.is_number())
    word = value.to_number<double>() == 1 ? "1" : value.to_number<double>() == 0 ? "0" : "";
  if (value.is_string()) word = view(value.get_string());
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return std::tolower(c); });
  if (std::ranges::count(kTrue, word) > 0) return true;
  if (std::ranges::count(kFalse, word) > 0) return false;
  return std::nullopt;
}

json::value as_whole(const json::value& value) {
  if (!value.is_double()) return value;
  const double number = value.get_double();
  if (number != std::floor(number)) return value;  // NaN too
  if (number >= -kInt64End && number < kInt64End) return static_cast<std::int64_t>(number);
  if (number > 0 && number < kUint64End) return static_cast<std::uint64_t>(number);
  return value;
}

Result<Spelling> read_fields(std::span<const Field> table, const json::object& object, Source source) {
  std::vector<const json::object*> objects{&object};
  std::array<json::value, kWrappers.size()> parsed;  // of a form, where objects come as text
  for (std::size_t i = 0; i < kWrappers.size(); ++i) {
    const auto* wrapped = object.if_contains({kWrappers[i].data(), kWrappers[i].size()});
    if (wrapped == nullptr || wrapped->is_null() || *wrapped == "") continue;
    parsed[i] = source == Source::form ? parsed_text(*wrapped) : *wrapped;
    if (!parsed[i].is_object()) {
      return fail(ErrorCode::invalid_argument, fmt::format("{} must be an object", kWrappers[i]),
                  std::string(kWrappers[i]), "invalid_type");
    }
    objects.push_back(&parsed[i].get_object());
  }
  Spelling spelling;
  for (const Field& field : table) {
    const json::key_value_pair* member = find(field, objects);
    if (member == nullptr) continue;
    const std::string spelled(member->key().data(), member->key().size());
    spelling[std::string(field.name)] = spelled;
    if (auto set = read_value(field, member->value(), source); !set) {
      Error error = std::move(set).error();
      error.field = spelled + error.field;
      error.message = fmt::format("{} {}", error.field, error.message);
      return tl::unexpected(std::move(error));
    }
  }
  return spelling;
}

Result<void> refuse_unknown(std::span<const Field> table, const json::object& object,
                            std::span<const std::string_view> others) {
  std::map<std::string_view, const Field*> known;
  for (const Field& field : table) {
    known[field.name] = &field;
    for (const std::string_view alias : field.aliases) known[alias] = &field;
  }
  for (const std::string_view name : kWrappers) known[name] = nullptr;
  for (const std::string_view name : others) known[name] = nullptr;
  std::map<const Field*, const json::key_value_pair*> read;
  for (const auto& member : object) {
    const std::string name(member.key().data(), member.key().size());
    const auto found = known.find(name);
    if (found == known.end())
      return fail(ErrorCode::invalid_argument, fmt::format("there is no field {}", name), name,
                  "unknown_parameter");
    if (found->second == nullptr || member.value().is_null()) continue;
    const auto [first, fresh] = read.emplace(found->second, &member);
    if (!fresh && first->second->value() != member.value())
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("{} and {} mean the same and differ", std::string_view(first->second->key()), name),
          name, "invalid_value");
  }
  return {};
}

Field text(std::string_view name, double characters_max, std::string_view description, Setter set) {
  return {name, {}, FieldType::string, 0, characters_max, {}, description, std::move(set)};
}
Field integer(std::string_view name, int minimum, int maximum, std::string_view description, Setter set) {
  const double low = minimum;
  const double high = maximum;
  return {name, {}, FieldType::integer, low, high, {}, description, std::move(set)};
}
Field number(std::string_view name, double maximum, std::string_view description, Setter set) {
  return {name, {}, FieldType::number, 0, maximum, {}, description, std::move(set)};
}
Field boolean(std::string_view name, std::string_view description, Setter set) {
  return {name, {}, FieldType::boolean, 0, 0, {}, description, std::move(set)};
}
Field any(std::string_view name, std::string schema, std::string_view description, Setter set) {
  return {name, {}, FieldType::any, 0, 0, {}, description, std::move(set), std::move(schema)};
}
Field choice(std::string_view name, std::vector<std::string_view> values, std::string_view description,
             Setter set) {
  return {name, {}, FieldType::string, 0, 0, std::move(values), description, std::move(set)};
}
Field ignored(std::string_view name, std::string_view description) {
  return any(name, "{}", description, [](const json::value&) { return Result<void>(); });
}
Field also_named(std::vector<std::string_view> aliases, Field field) {
  field.aliases = std::move(aliases);
  return field;
}

Setter into(std::string& to) { return stored(to, as_text); }
Setter into(std::optional<std::string>& to) { return stored(to, as_text); }
Setter into(bool& to) {
  return stored(to, [](const json::value& value) { return value.get_bool(); });
}
Setter into(int& to) { return stored(to, as_int); }
Setter into(std::optional<int>& to) { return stored(to, as_int); }
Setter into(std::optional<double>& to) {
  return stored(to, [](const json::value& value) { return value.get_double(); });
}

Setter into_members(std::vector<Field> table) {
  return [table = std::move(table)](const json::value& value) -> Result<void> {
    if (!value.is_object()) return wrong_type("an object");
    const json::object* const object = &value.get_object();
    for (const Field& field : table) {
      const auto* member = find(field, {&object, 1});
      auto set = member != nullptr ? read_value(field, member->value(), Source::form) : Result<void>();
      if (set) continue;
      Error error = std::move(set).error();
      error.field = "." + std::string(member->key()) + error.field;
      return tl::unexpected(std::move(error));
    }
    return {};
  };
}

}  // namespace diffused::api
