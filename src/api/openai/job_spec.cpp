#include "api/openai/job_spec.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>

#include "api/loras.h"
#include "base/json_text.h"

namespace diffused::api {
namespace {

constexpr int kVersion = 1;

// Calls `visit` with the name and the value of each member: the one list for both directions.
template <typename Spec, typename Visit>
void each_spec_member(Spec& spec, const Visit& visit) {
  auto& request = spec.request;
  auto& generate = request.generate;
  visit("model", generate.model);
  visit("prompt", generate.prompt);
  visit("prompt_2", generate.prompt_2);
  visit("prompt_3", generate.prompt_3);
  visit("negative_prompt", generate.negative_prompt);
  visit("negative_prompt_2", generate.negative_prompt_2);
  visit("negative_prompt_3", generate.negative_prompt_3);
  visit("width", generate.width);
  visit("height", generate.height);
  visit("num_inference_steps", generate.num_inference_steps);
  visit("guidance_scale", generate.guidance_scale);
  visit("guidance_rescale", generate.guidance_rescale);
  visit("cfg_normalization", generate.cfg_normalization);
  visit("cfg_truncation", generate.cfg_truncation);
  visit("denoising_start", generate.denoising_start);
  visit("denoising_end", generate.denoising_end);
  visit("aesthetic_score", generate.aesthetic_score);
  visit("negative_aesthetic_score", generate.negative_aesthetic_score);
  visit("original_size", generate.original_size);
  visit("crops_coords_top_left", generate.crops_coords_top_left);
  visit("target_size", generate.target_size);
  visit("negative_original_size", generate.negative_original_size);
  visit("negative_crops_coords_top_left", generate.negative_crops_coords_top_left);
  visit("negative_target_size", generate.negative_target_size);
  visit("true_cfg_scale", generate.true_cfg_scale);
  visit("clip_skip", generate.clip_skip);
  visit("max_sequence_length", generate.max_sequence_length);
  visit("prompt_syntax", generate.prompt_syntax);
  visit("scheduler", generate.scheduler);
  visit("flow_shift", generate.flow_shift);
  visit("cache", generate.cache);
  visit("decoder", generate.decoder);
  visit("sigmas", generate.sigmas);
  visit("timesteps", generate.timesteps);
  visit("eta", generate.eta);
  visit("skip_guidance_layers", generate.skip_guidance_layers);
  visit("skip_layer_guidance_scale", generate.skip_layer_guidance_scale);
  visit("skip_layer_guidance_start", generate.skip_layer_guidance_start);
  visit("skip_layer_guidance_stop", generate.skip_layer_guidance_stop);
  visit("loras", generate.loras);
  visit("strength", generate.strength);
  visit("seeds", generate.seeds);
  visit("variation_seeds", generate.variation_seeds);
  visit("variation_strength", generate.variation_strength);
  visit("quality", request.quality);
  visit("quality_preset", request.quality_preset);
  visit("partial_images", request.partial_images);
  visit("safety_identifier", request.safety_identifier);
  visit("init_image", spec.init_image);
  visit("mask", spec.mask);
  visit("references", spec.references);
  visit("awaited", spec.awaited);
  visit("watched", spec.watched);
}

template <typename T>
json::value to_value(const T& value) {
  return json::value_from(value);
}
template <typename T>
json::value to_value(const std::optional<T>& value) {
  return value ? json::value_from(*value) : json::value(nullptr);
}

json::value to_value(const std::optional<StepCache>& cache) {
  return cache ? json::value(write_step_cache(*cache)) : json::value(nullptr);
}
json::value to_value(const std::vector<LoraChoice>& loras) { return write_loras(loras); }

template <typename T>
void from_member(const json::object& object, const char* name, T& to) {
  to = json::value_to<T>(object.at(name));
}
// A row that was written before there was such a member leaves it empty.
template <typename T>
void from_member(const json::object& object, const char* name, std::optional<T>& to) {
  const json::value* const value = object.if_contains(name);
  if (value && !value->is_null()) to = json::value_to<T>(*value);
}
void from_member(const json::object& object, const char* name, std::optional<StepCache>& to) {
  const json::value* const value = object.if_contains(name);
  if (value && !value->is_null()) to = parse_step_cache(json::value_to<std::string>(*value)).value();
}
template <typename T>
void from_member(const json::object& object, const char* name, std::vector<T>& to) {
  if (const json::value* const value = object.if_contains(name)) to = json::value_to<std::vector<T>>(*value);
}
void from_member(const json::object& object, const char* name, std::vector<LoraChoice>& to) {
  if (const json::value* const value = object.if_contains(name)) to = read_loras(*value);
}

}  // namespace

std::string write_spec(const JobSpec& spec) {
  json::object text{{"version", kVersion},
                    {"output_format", spec.request.codec->name},
                    {"b64_json", spec.request.response_format == ResponseFormat::b64_json}};
  each_spec_member(spec, [&](const char* name, const auto& value) { text[name] = to_value(value); });
  return json_text(text);
}

Result<JobSpec> read_spec(const std::string& text) {
  JobSpec spec;
  try {
    const json::object object = json::parse(text).as_object();
    if (object.at("version").as_int64() != kVersion)
      return fail(ErrorCode::data_loss, "the job was written by another version of this server");
    each_spec_member(spec, [&](const char* name, auto& value) { from_member(object, name, value); });
    spec.request.codec = find_codec(std::string(object.at("output_format").as_string()));
    spec.request.response_format =
        object.at("b64_json").as_bool() ? ResponseFormat::b64_json : ResponseFormat::url;
  } catch (const std::exception&) {  // Boost.JSON's conversions throw
    return fail(ErrorCode::data_loss, "the job's row cannot be read");
  }
  if (spec.request.codec == nullptr || spec.request.generate.n() == 0)
    return fail(ErrorCode::data_loss, "the job's row cannot be read");
  return spec;
}

std::string batch_key(const GenerateRequest& request) {
  return fmt::format("{}x{}", request.width.value_or(0), request.height.value_or(0));
}

}  // namespace diffused::api
