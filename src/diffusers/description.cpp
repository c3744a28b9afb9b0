#include "diffusers/description.h"

#include <boost/json/value_to.hpp>

namespace diffused::diffusers {
namespace {

namespace json = boost::json;

Form read_form(const json::object& said) {
  return {.class_name = json::value_to<std::string>(said.at("class")),
          .steps = said.at("turns").as_string() == "steps",
          .takes = said.at("takes").as_object()};
}

// Throws what Boost.JSON's accessors throw.
Description read(const json::object& said) {
  Description made{};
  for (const auto& [name, form] : said.at("forms").as_object())
    made.forms[name] = read_form(form.as_object());
  PipelineInfo& info = made.info;
  info.engine = "diffusers";
  info.class_name = json::value_to<std::string>(said.at("class"));
  info.dtype = json::value_to<std::string>(said.at("dtype"));
  info.device = json::value_to<std::string>(said.at("device"));
  info.parameters = said.at("parameters").to_number<std::uint64_t>();
  info.default_width = said.at("default_size").as_array().at(0).to_number<int>();
  info.default_height = said.at("default_size").as_array().at(1).to_number<int>();
  info.size_multiple = said.at("size_multiple").to_number<int>();
  info.max_side = said.at("side_max").to_number<int>();
  info.schedulers = json::value_to<std::vector<std::string>>(said.at("schedulers"));
  info.image_to_image = made.forms.contains("image");
  info.inpaint = made.forms.contains("inpaint");
  const char* const usual = made.forms.contains("text")    ? "text"
                            : made.forms.contains("image") ? "image"
                                                           : "inpaint";
  const Form& first = made.forms.at(usual);
  info.one_unit = !first.steps;
  info.default_steps = static_cast<int>(first.number("num_inference_steps").value_or(1));
  info.default_guidance_scale = first.number("guidance_scale").value_or(1);
  made.step_parameters = said.at("step_parameters").to_number<std::uint64_t>();
  made.resident_bytes = said.at("resident_bytes").to_number<std::uint64_t>();
  return made;
}

}  // namespace

std::optional<double> Form::number(std::string_view parameter) const {
  const json::value* const found = takes.if_contains(parameter);
  if (found == nullptr || !found->is_number()) return std::nullopt;
  return found->to_number<double>();
}

const Form* Description::form_for(const GenerateRequest& request) const {
  const auto found = forms.find(request.mask ? "inpaint" : request.init_image ? "image" : "text");
  return found == forms.end() ? nullptr : &found->second;
}

Result<Description> read_description(const json::object& header) {
  try {
    Description made = read(header);
    if (made.info.size_multiple >= 1 && made.info.default_width >= 1 && made.info.default_height >= 1)
      return made;
  } catch (const std::exception&) {  // Boost.JSON's accessors
  }
  return fail(ErrorCode::data_loss, "the worker's description of the model cannot be read");
}

}  // namespace diffused::diffusers
