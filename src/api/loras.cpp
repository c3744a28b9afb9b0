#include "api/loras.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/ascii.h"

namespace diffused::api {

const std::string_view kLorasSchema =
    R"({"anyOf": [
          {"type": "null"},
          {"type": "array", "maxItems": 16, "items": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Of those that GET /v1/models tells. Also: path."},
            "weight": {"type": "number", "minimum": -10, "maximum": 10, "default": 1, "description": "Also: scale, multiplier, strength."},
            "text_weight": {"type": ["number", "null"], "minimum": -10, "maximum": 10, "description": "In the text encoders; absent: weight."}}}},
          {"type": "object", "maxProperties": 16, "description": "One of them, or weights by name."}]})";

namespace {

namespace json = boost::json;

constexpr std::size_t kNamesShown = 8;
constexpr std::string_view kLoraEnding = ".safetensors";

// `place` is where in the field's value: "[1].weight".
tl::unexpected<Error> wrong_lora(std::string place, std::string message,
                                 std::string reason = "invalid_value") {
  return fail(ErrorCode::invalid_argument, std::move(message), std::move(place), std::move(reason));
}

Result<void> check_lora_count(std::size_t count) {
  if (count <= kLorasMax) return {};
  return wrong_lora({}, fmt::format("has {} entries; at most {} are accepted", count, kLorasMax));
}

Result<std::string> name_of(const json::value& value, const std::string& place) {
  if (!value.is_string()) return wrong_lora(place, "must be a string", "invalid_type");
  std::string name(value.get_string());
  if (name.empty()) return wrong_lora(place, "must not be empty");
  if (name.size() > kLoraNameBytesMax)
    return wrong_lora(place,
                      fmt::format("has {} bytes; at most {} are accepted", name.size(), kLoraNameBytesMax));
  return name;
}

Result<double> weight_of(const json::value& value, const std::string& place) {
  if (!value.is_number()) return wrong_lora(place, "must be a number", "invalid_type");
  const double weight = value.to_number<double>();
  // Written so that NaN fails.
  if (!(std::abs(weight) <= kLoraWeightMax))
    return wrong_lora(place, fmt::format("must be a number from {} to {}", -kLoraWeightMax, kLoraWeightMax));
  return weight;
}

// The first of these members that is there, or null.
const json::key_value_pair* first_of(const json::object& object, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto member = object.find(name);
    if (member != object.end() && !member->value().is_null()) return &*member;
  }
  return nullptr;
}

const json::key_value_pair* name_member(const json::object& object) {
  return first_of(object, {"name", "path"});
}

std::string inside(const std::string& place, json::string_view key) {
  return fmt::format("{}.{}", place, std::string_view(key.data(), key.size()));
}

// A name alone has weight 1.
Result<LoraChoice> read_one(const json::value& value, const std::string& place) {
  LoraChoice lora;
  if (value.is_string()) {
    TRY(lora.name, name_of(value, place));
    return lora;
  }
  if (!value.is_object()) return wrong_lora(place, "must be an object with name and weight", "invalid_type");
  const json::object& object = value.get_object();
  const auto* name = name_member(object);
  if (name == nullptr) return wrong_lora(place + ".name", "is required", "missing_required_parameter");
  TRY(lora.name, name_of(name->value(), inside(place, name->key())));
  if (const auto* weight = first_of(object, {"weight", "scale", "multiplier", "strength"})) {
    TRY(lora.weight, weight_of(weight->value(), inside(place, weight->key())));
  }
  if (const auto* weight = first_of(object, {"text_weight"})) {
    TRY(lora.text_weight, weight_of(weight->value(), inside(place, weight->key())));
  }
  return lora;
}

Result<std::vector<LoraChoice>> read_list(const json::array& items) {
  TRY_VOID(check_lora_count(items.size()));
  std::vector<LoraChoice> loras;
  for (std::size_t i = 0; i < items.size(); ++i) {
    TRY(LoraChoice lora, read_one(items[i], fmt::format("[{}]", i)));
    loras.push_back(std::move(lora));
  }
  return loras;
}

Result<std::vector<LoraChoice>> read_weights(const json::object& weights) {
  TRY_VOID(check_lora_count(weights.size()));
  std::vector<LoraChoice> loras;
  for (const auto& [key, value] : weights) {
    LoraChoice lora;
    TRY(lora.name, name_of(json::value(key), {}));
    TRY(lora.weight, weight_of(value, "." + lora.name));
    loras.push_back(std::move(lora));
  }
  return loras;
}

Result<std::vector<LoraChoice>> read_any(const json::value& value) {
  if (value.is_array()) return read_list(value.get_array());
  if (!value.is_object() && !value.is_string())
    return wrong_lora({}, "must be a list of objects with name and weight", "invalid_type");
  // A LoRA may itself be called "name": then what stands there is its weight.
  const auto* name = value.is_object() ? name_member(value.get_object()) : nullptr;
  if (value.is_object() && (name == nullptr || name->value().is_number()))
    return read_weights(value.get_object());
  TRY(LoraChoice lora, read_one(value, {}));
  return std::vector<LoraChoice>{std::move(lora)};
}

std::string shortened(const std::vector<std::string>& names) {
  const std::span<const std::string> shown(names.data(), std::min(names.size(), kNamesShown));
  const std::size_t more = names.size() - shown.size();
  return fmt::format("{}{}", fmt::join(shown, ", "), more > 0 ? fmt::format(" and {} more", more) : "");
}

}  // namespace

Setter into(std::vector<LoraChoice>& to) {
  return [&to](const json::value& value) -> Result<void> {
    TRY(to, read_any(value));
    return {};
  };
}

Result<void> check_loras(const PipelineInfo& model, std::span<const LoraChoice> loras) {
  if (loras.size() > kLorasMax)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} LoRAs are named; at most {} are accepted", loras.size(), kLorasMax), "loras");
  for (const LoraChoice& lora : loras) {
    if (std::ranges::count(model.loras, lora.name) > 0) continue;
    const std::string there = model.loras.empty() ? "none" : shortened(model.loras);
    return fail(ErrorCode::invalid_argument,
                fmt::format("there is no LoRA \"{}\"; this model has {}", lora.name, there), "loras");
  }
  return {};
}

Result<std::optional<std::string>> find_lora(const PipelineInfo& model, std::string_view name) {
  if (std::ranges::count(model.loras, name) > 0) return std::string(name);
  const std::size_t bare = name.size() - std::min(name.size(), kLoraEnding.size());
  const std::string_view ending = name.substr(bare);
  if (iequals(ending, kLoraEnding)) return find_lora(model, name.substr(0, bare));
  std::vector<std::string> found;
  for (const std::string& own : model.loras)
    if (std::string_view(own).substr(own.rfind('/') + 1) == name) found.push_back(own);
  if (found.size() > 1)
    return fail(ErrorCode::invalid_argument,
                fmt::format("several LoRAs are called \"{}\": {}", name, fmt::join(found, ", ")), "prompt");
  if (!found.empty()) return found.front();
  const auto alias = model.lora_aliases.find(std::string(name));
  return alias == model.lora_aliases.end() ? std::optional<std::string>() : std::optional(alias->second);
}

}  // namespace diffused::api
