#include "api/sdapi/unserved.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/fields.h"

namespace diffused::api {
namespace {

namespace json = boost::json;

// Fields, each with the values that ask for nothing besides null, false, 0 and "".
struct UnservedField {
  std::string_view name;
  std::string_view neutral = {};  // a text
  bool below_zero = false;        // whether numbers below zero ask for nothing
};
constexpr std::array kUnserved{
    UnservedField{"restore_faces"},
    UnservedField{"tiling"},
    UnservedField{"s_churn"},
    UnservedField{"seed_resize_from_w", {}, true},
    UnservedField{"seed_resize_from_h", {}, true},
    UnservedField{"firstphase_width"},
    UnservedField{"firstphase_height"},
    UnservedField{"refiner_checkpoint", "None"},
    UnservedField{"hr_checkpoint_name", "Use same checkpoint"},
    UnservedField{"hr_sampler_name", "Use same sampler"},
    UnservedField{"hr_scheduler", "Use same scheduler"},
    UnservedField{"hr_prompt"},
    UnservedField{"hr_negative_prompt"},
};

const json::value* member_of(const json::object& body, std::string_view name) {
  return body.if_contains({name.data(), name.size()});
}

bool asks_for_nothing(const json::value& value, std::string_view neutral, bool below_zero) {
  if (value.is_null()) return true;
  if (value.is_number()) {
    const double number = value.to_number<double>();
    return number == 0 || (below_zero && number < 0);
  }
  if (read_truth(value) == false) return true;
  return value.is_string() && (value.get_string().empty() || value.get_string() == neutral);
}

std::string string_member(const json::object& body, std::string_view name) {
  const json::value* const value = member_of(body, name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// Whether an argument of an extension switches nothing on: false, null, or an object that says so of itself.
bool is_switched_off(const json::value& argument) {
  if (const auto* object = argument.if_object()) {
    const json::value* const enabled = object->if_contains("enabled");
    return object->empty() || (enabled != nullptr && asks_for_nothing(*enabled, {}, false));
  }
  return asks_for_nothing(argument, {}, false);
}

// Extensions are {"ControlNet": {"args": […]}}; the first argument of many switches them on.
bool does_nothing(const json::value& extension) {
  const auto* object = extension.if_object();
  const json::value* arguments = object != nullptr ? object->if_contains("args") : &extension;
  if (arguments == nullptr || arguments->is_null()) return true;
  const auto* list = arguments->if_array();
  if (list == nullptr) return false;
  if (!list->empty() && list->front().is_bool() && !list->front().get_bool()) return true;
  return std::ranges::all_of(*list, is_switched_off);
}

void name_extensions(const json::object& body, std::vector<std::string>& warnings) {
  const json::value* const extensions = member_of(body, "alwayson_scripts");
  if (extensions == nullptr || !extensions->is_object()) return;
  for (const auto& [name, extension] : extensions->get_object())
    if (!does_nothing(extension))
      warnings.push_back(
          fmt::format("the script \"{}\" (alwayson_scripts) is not served", std::string(name)));
}

// What this server has one of.
void name_replaced(const json::object& body, std::vector<std::string>& warnings) {
  const json::value* const fill = member_of(body, "inpainting_fill");
  const json::value* const mask = member_of(body, "mask");
  const bool masked = fill != nullptr && mask != nullptr && !asks_for_nothing(*mask, {}, false);
  if (masked && fill->is_number() && fill->to_number<double>() != 1)
    warnings.emplace_back("inpainting_fill is not served; the masked part started from the picture itself");
}

}  // namespace

Result<void> name_unserved(const json::object& body, std::vector<std::string>& warnings) {
  if (const std::string script = string_member(body, "script_name"); !script.empty() && script != "None")
    return fail(ErrorCode::unsupported, fmt::format("the script \"{}\" is not served", script),
                "script_name");
  name_extensions(body, warnings);
  for (const UnservedField& field : kUnserved) {
    const json::value* const value = member_of(body, field.name);
    if (value != nullptr && !asks_for_nothing(*value, field.neutral, field.below_zero))
      warnings.push_back(fmt::format("{} is not served", field.name));
  }
  name_replaced(body, warnings);
  return {};
}

}  // namespace diffused::api
