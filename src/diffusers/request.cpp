#include "diffusers/request.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <cmath>

#include "base/check.h"
#include "job/request_rules.h"

namespace diffused::diffusers {
namespace {

namespace json = boost::json;

// A network's step is taken to see one token for each patch of this many pixels, and the rest of a picture
// to be as much work as this many steps.
constexpr double kPatchPixels = 16.0 * 16.0, kOtherSteps = 2;
constexpr double kUnknownParameters = 1e9;

// Calls `visit` with the parameter's name and the field, of all that go through as they are.
template <typename Request, typename Visit>
void each_parameter(Request& request, const Visit& visit) {
  visit("prompt_2", request.prompt_2);
  visit("prompt_3", request.prompt_3);
  visit("negative_prompt", request.negative_prompt);
  visit("negative_prompt_2", request.negative_prompt_2);
  visit("negative_prompt_3", request.negative_prompt_3);
  visit("guidance_scale", request.guidance_scale);
  visit("true_cfg_scale", request.true_cfg_scale);
  visit("guidance_rescale", request.guidance_rescale);
  visit("clip_skip", request.clip_skip);
  visit("max_sequence_length", request.max_sequence_length);
  visit("original_size", request.original_size);
  visit("crops_coords_top_left", request.crops_coords_top_left);
  visit("target_size", request.target_size);
  visit("negative_original_size", request.negative_original_size);
  visit("negative_crops_coords_top_left", request.negative_crops_coords_top_left);
  visit("negative_target_size", request.negative_target_size);
  visit("strength", request.strength);
}

// Nothing was asked for, whatever the client sent.
bool is_empty(const std::optional<std::string>& text) { return !text || text->empty(); }
template <typename T>
bool is_empty(const std::optional<T>& value) {
  return !value;
}

void put(json::object& arguments, const char* name, const std::array<int, 2>& pair) {
  arguments[name] = json::array{pair[0], pair[1]};
}
template <typename T>
void put(json::object& arguments, const char* name, const T& value) {
  arguments[name] = value;
}

Result<void> check_form(const Description& model, const GenerateRequest& request) {
  if (model.form_for(request) != nullptr) return {};
  if (request.mask && model.forms.contains("image"))
    return fail(ErrorCode::unsupported, "this model takes no mask", "mask");
  if (request.init_image && model.forms.contains("text"))
    return fail(ErrorCode::unsupported, "this model makes pictures from text alone", "image");
  return wrong_field("this model makes nothing without a picture", "image");
}

tl::unexpected<Error> not_taken(const Form& form, const char* field) {
  return fail(ErrorCode::unsupported, fmt::format("{} takes no {}", form.class_name, field), field);
}

// What would be ignored in silence is refused.
Result<void> check_taken(const Form& form, const GenerateRequest& request) {
  Result<void> outcome;
  each_parameter(request, [&](const char* name, const auto& value) {
    if (outcome && !is_empty(value) && !form.has(name)) outcome = not_taken(form, name);
  });
  if (outcome && request.flow_shift) outcome = not_taken(form, "flow_shift");
  if (outcome && request.variation_strength.value_or(0) > 0) outcome = not_taken(form, "variation_strength");
  return outcome;
}

// A size that the call does not take is the pipeline's own, or that of the picture it starts from.
Result<void> check_size(const Description& model, const Form& form, const GenerateRequest& request) {
  if (form.has("width") || request.init_image) return {};
  const PipelineInfo& info = model.info;
  if (*request.width == info.default_width && *request.height == info.default_height) return {};
  return wrong_field(fmt::format("{} makes pictures of {}x{} only", form.class_name, info.default_width,
                                 info.default_height),
                     "width");
}

template <typename T>
void set_default(std::optional<T>& value, const Form& form, const char* name) {
  if (const auto number = form.number(name); number && !value) value = static_cast<T>(*number);
}

bool is_guided(const GenerateRequest& request) {
  return request.guidance_scale.value_or(1) > 1 || request.true_cfg_scale.value_or(1) > 1;
}

}  // namespace

Result<GenerateRequest> resolve_request(const Description& model, GenerateRequest request) {
  TRY_VOID(check_form(model, request));
  const Form& form = *model.form_for(request);
  TRY_VOID(check_taken(form, request));
  if (!request.num_inference_steps)
    request.num_inference_steps = static_cast<int>(form.number("num_inference_steps").value_or(1));
  if (model.info.schedulers.empty()) request.scheduler.clear();
  fill_in_defaults(model.info, request);
  set_default(request.guidance_scale, form, "guidance_scale");
  set_default(request.true_cfg_scale, form, "true_cfg_scale");
  set_default(request.strength, form, "strength");
  TRY_VOID(check_limits(model.info, request));
  TRY_VOID(check_size(model, form, request));
  return request;
}

json::object call_arguments(const Description& model, const GenerateRequest& resolved,
                            std::size_t image_index) {
  const Form* const form = model.form_for(resolved);
  CHECK(form != nullptr);
  json::object arguments{{"prompt", resolved.prompt},
                         {"seed", resolved.seeds.at(image_index)},
                         {"scheduler", resolved.scheduler}};
  if (form->has("num_inference_steps")) arguments["num_inference_steps"] = *resolved.num_inference_steps;
  if (form->has("width")) {
    arguments["width"] = *resolved.width;
    arguments["height"] = *resolved.height;
  }
  each_parameter(resolved, [&](const char* name, const auto& value) {
    if (!is_empty(value)) put(arguments, name, *value);
  });
  return arguments;
}

PictureWork work_of(const Description& model, const GenerateRequest& resolved) {
  const double parameters =
      model.step_parameters > 0 ? static_cast<double>(model.step_parameters) : kUnknownParameters;
  const double tokens = std::max(1.0, static_cast<double>(*resolved.width) * *resolved.height / kPatchPixels);
  PictureWork work;
  work.step_flops = 2 * parameters * tokens * (is_guided(resolved) ? 2 : 1);
  work.picture_flops = work.step_flops * (*resolved.num_inference_steps + kOtherSteps);
  return work;
}

}  // namespace diffused::diffusers
