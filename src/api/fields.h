// Request fields as data: one table says how each is spelled, what it may hold and where it goes. The same
// table reads JSON bodies and forms, words the errors and is shown to clients in /openapi.json.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace diffused::api {

enum class FieldType { string, integer, number, boolean, any };

// Takes a field's value, already of its type and in its range; an integer is an int64. Errors: what only this
// field knows to be wrong, with the place inside of the value ("[1].weight") instead of a field name.
using Setter = std::function<Result<void>(const boost::json::value&)>;

// A table is bound to the request that it fills: its setters refer to it.
struct Field {
  std::string_view name;                       // canonical
  std::vector<std::string_view> aliases = {};  // the first that is present wins; `name` beats them all
  FieldType type = FieldType::string;
  double minimum = 0;  // of the number, or of the string's length in characters
  double maximum = 0;
  std::vector<std::string_view> values = {};  // the only strings accepted; empty: any
  std::string_view description = {};
  Setter set;
  std::string schema = "{}";  // JSON schema of a field of any type
};

// Whether values were typed (JSON) or are all text (a form), which is then read as the field's type: truths
// as read_truth does. An empty text is absent in both where it cannot be the value.
enum class Source { json, form };

// A truth as programs write it: true, 0, "1", "on", "False", "no", … None for anything else.
std::optional<bool> read_truth(const boost::json::value& value);

// A whole number that is written with a point or an exponent as an integer; any other value as it is.
boost::json::value as_whole(const boost::json::value& value);

// A field's canonical name → the client's word for it.
using Spelling = std::map<std::string, std::string>;

// Reads every field of the table from the object: null is absent, unknown members are left alone. What is not
// at the top is looked for in the objects that clients wrap extra fields in. Returns the names the client
// used. Errors: invalid_argument with the field as the client spelled it; reason "invalid_type" or
// "invalid_value".
Result<Spelling> read_fields(std::span<const Field> table, const boost::json::object& object, Source source);

// For those who want no mistake to pass: refuses members that are neither in the table nor among `others`,
// and fields given under two of their names with different values. Looks at the top only. Errors:
// invalid_argument; reason "unknown_parameter" or "invalid_value".
Result<void> refuse_unknown(std::span<const Field> table, const boost::json::object& object,
                            std::span<const std::string_view> others = {});

// What the table accepts as a JSON schema of an object: every field under each of its names; those with a
// least length are required. `source`: as what the object is read.
boost::json::object schema_of(std::span<const Field> table, Source source = Source::json);

// The words that tables are written in.
Field text(std::string_view name, double characters_max, std::string_view description, Setter set);
Field integer(std::string_view name, int minimum, int maximum, std::string_view description, Setter set);
Field number(std::string_view name, double maximum, std::string_view description, Setter set);
Field boolean(std::string_view name, std::string_view description, Setter set);
Field any(std::string_view name, std::string schema, std::string_view description, Setter set);
Field choice(std::string_view name, std::vector<std::string_view> values, std::string_view description,
             Setter set);
Field ignored(std::string_view name, std::string_view description = "Accepted and ignored.");
Field also_named(std::vector<std::string_view> aliases, Field field);

// Setters that store the value as it is. What they store in must outlive the table.
Setter into(std::string& to);
Setter into(std::optional<std::string>& to);
Setter into(bool& to);
Setter into(int& to);
Setter into(std::optional<int>& to);
Setter into(std::optional<double>& to);
// Of an object whose members are fields of their own, read as a form's.
Setter into_members(std::vector<Field> table);

}  // namespace diffused::api
