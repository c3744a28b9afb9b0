#include "diffusers/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "job/request_rules.h"
#include "parameters/request_fields.h"
#include "parameters/request_json.h"

namespace diffused::diffusers {
namespace {

namespace json = boost::json;

// A network's step is taken to see one token for each patch of this many pixels, and the rest of a picture
// to be as much work as this many steps.
constexpr double kPatchPixels = 16.0 * 16.0, kOtherSteps = 2;
constexpr double kUnknownParameters = 1e9;

// Fields that have a way of their own, or none: prompts are plain text in Diffusers, and what its models
// cannot do of the rest check_limits refuses.
constexpr std::array<std::string_view, 9> kOtherwise{
    "prompt",        "width", "height", "num_inference_steps", "scheduler", "loras",
    "prompt_syntax", "cache", "decoder"};
// What other samplers than its own leave alone, here as there: clients of A1111's send it with every request.
constexpr std::string_view kLeftAlone = "eta";

// Calls `visit` with the parameter's name and the field, of all that go through as they are.
template <typename Visit>
void each_parameter(const GenerateRequest& request, const Visit& visit) {
  each_field(request, [&](const FieldInfo& field, const auto& value) {
    if (std::ranges::count(kOtherwise, field.name) == 0) visit(field.name, value);
  });
}

// Nothing was asked for, whatever the client sent.
template <typename T>
bool is_empty(const std::vector<T>& list) {
  return list.empty();
}
bool is_empty(const std::string& text) { return text.empty(); }
bool is_empty(const std::optional<std::string>& text) { return !text || text->empty(); }
template <typename T>
bool is_empty(const std::optional<T>& value) {
  return !value;
}

Result<void> check_form(const Description& model, const GenerateRequest& request) {
  if (model.form_for(request) != nullptr) return {};
  if (request.mask && model.forms.contains("image"))
    return fail(ErrorCode::unsupported, "this model takes no mask", "mask");
  if (request.init_image && model.forms.contains("text"))
    return fail(ErrorCode::unsupported, "this model makes pictures from text alone", "image");
  return wrong_field("this model makes nothing without a picture", "image");
}

tl::unexpected<Error> not_taken(const Form& form, std::string_view field) {
  return fail(ErrorCode::unsupported, fmt::format("{} takes no {}", form.class_name, field),
              std::string(field));
}

// What would be ignored in silence is refused.
Result<void> check_taken(const Form& form, const GenerateRequest& request) {
  Result<void> outcome;
  each_parameter(request, [&](std::string_view name, const auto& value) {
    if (outcome && !is_empty(value) && !form.has(name) && name != kLeftAlone) outcome = not_taken(form, name);
  });
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
  json::object fields;
  write_request(resolved, fields);
  each_parameter(resolved, [&](std::string_view name, const auto& value) {
    const json::string_view key(name.data(), name.size());
    if (!is_empty(value) && form->has(name)) arguments[key] = fields.at(key);
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
