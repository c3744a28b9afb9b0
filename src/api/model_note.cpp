#include "api/model_note.h"

#include <boost/json/parse.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>

#include "base/json_text.h"

namespace diffused::api {
namespace {

namespace json = boost::json;

// Calls `visit` with the name and the value of each member: the one list for both directions.
template <typename Model, typename Visit>
void each_model_member(Model& model, const Visit& visit) {
  auto& info = model.info;
  visit("aliases", model.aliases);
  visit("class_name", info.class_name);
  visit("dtype", info.dtype);
  visit("device", info.device);
  visit("engine", info.engine);
  visit("one_unit", info.one_unit);
  visit("parameters", info.parameters);
  visit("default_width", info.default_width);
  visit("default_height", info.default_height);
  visit("size_multiple", info.size_multiple);
  visit("max_side", info.max_side);
  visit("default_steps", info.default_steps);
  visit("default_guidance_scale", info.default_guidance_scale);
  visit("schedulers", info.schedulers);
  visit("loras", info.loras);
  visit("lora_aliases", info.lora_aliases);
  visit("embeddings", info.embeddings);
  visit("image_to_image", info.image_to_image);
  visit("inpaint", info.inpaint);
  visit("references_max", info.references_max);
  visit("reference_needed", info.reference_needed);
  visit("flow_shift", info.flow_shift);
  visit("caches", info.caches);
  visit("decoders", info.decoders);
  visit("true_cfg_scale", info.true_cfg_scale);
}

}  // namespace

std::string write_model(const ServedModel& model) {
  json::object text;
  each_model_member(model,
                    [&](const char* name, const auto& value) { text[name] = json::value_from(value); });
  return json_text(text);
}

Result<ServedModel> read_model(const std::string& text) {
  ServedModel model;
  try {
    const json::object object = json::parse(text).as_object();
    each_model_member(model, [&](const char* name, auto& value) {
      if (const json::value* const found = object.if_contains(name))
        value = json::value_to<std::remove_reference_t<decltype(value)>>(*found);
    });
  } catch (const std::exception&) {  // Boost.JSON's conversions throw
    return fail(ErrorCode::data_loss, "the description of a model cannot be read");
  }
  // Without these nothing could be held against it.
  if (model.info.size_multiple < 1 || model.info.schedulers.empty())
    return fail(ErrorCode::data_loss, "the description of a model cannot be read");
  return model;
}

}  // namespace diffused::api
