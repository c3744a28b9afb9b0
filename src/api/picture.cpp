#include "api/picture.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <boost/json/value_from.hpp>

#include "api/loras.h"
#include "api/sampler_names.h"
#include "base/json_text.h"
#include "job/request_rules.h"

namespace diffused::api {
namespace {

namespace json = boost::json;

// Runs one stage of a picture and tells how long it took.
template <typename Work>
auto timed(const Api& api, std::string_view model, PictureStage stage, Work work) {
  const SteadyTime begin = api.clock.now();
  auto result = work();
  if (api.stage_finished)
    api.stage_finished(model, stage, std::chrono::duration<double>(api.clock.now() - begin).count());
  return result;
}

std::string recipe_text(const Recipe& recipe, std::uint64_t seed, const Image& image) {
  const GenerateRequest& request = recipe.request;
  json::object text{{"prompt", request.prompt},
                    {"model", request.model},
                    {"seed", seed},
                    {"num_inference_steps", recipe.steps()},
                    {"guidance_scale", recipe.guidance_scale()},
                    {"scheduler", recipe.scheduler()},
                    {"width", request.width.value_or(image.width)},
                    {"height", request.height.value_or(image.height)}};
  const auto add = [&](std::string_view name, const auto& value) {
    if (value) text[{name.data(), name.size()}] = json::value_from(*value);
  };
  add("prompt_2", request.prompt_2);
  add("prompt_3", request.prompt_3);
  add("negative_prompt", request.negative_prompt);
  add("negative_prompt_2", request.negative_prompt_2);
  add("negative_prompt_3", request.negative_prompt_3);
  add("guidance_rescale", request.guidance_rescale);
  add("cfg_normalization", request.cfg_normalization);
  add("cfg_truncation", request.cfg_truncation);
  add("denoising_start", request.denoising_start);
  add("denoising_end", request.denoising_end);
  add("aesthetic_score", request.aesthetic_score);
  add("negative_aesthetic_score", request.negative_aesthetic_score);
  add("original_size", request.original_size);
  add("crops_coords_top_left", request.crops_coords_top_left);
  add("target_size", request.target_size);
  add("negative_original_size", request.negative_original_size);
  add("negative_crops_coords_top_left", request.negative_crops_coords_top_left);
  add("negative_target_size", request.negative_target_size);
  add("flow_shift", request.flow_shift);
  add("decoder", request.decoder);
  const StepCache cache = with_threshold(request.cache ? request.cache : recipe.model.default_cache);
  if (cache.on()) text["cache"] = {{"mode", cache.mode}, {"threshold", *cache.threshold}};
  add("true_cfg_scale", request.true_cfg_scale);
  if (request.clip_skip.value_or(0) > 0) add("clip_skip", request.clip_skip);  // 0 is as absent
  add("max_sequence_length", request.max_sequence_length);
  add("prompt_syntax", request.prompt_syntax);
  add("strength", request.strength);
  add("eta", request.eta);
  if (!request.sigmas.empty()) text["sigmas"] = json::value_from(request.sigmas);
  if (!request.timesteps.empty()) text["timesteps"] = json::value_from(request.timesteps);
  if (!request.skip_guidance_layers.empty()) {
    text["skip_guidance_layers"] = json::value_from(request.skip_guidance_layers);
    add("skip_layer_guidance_scale", request.skip_layer_guidance_scale);
    add("skip_layer_guidance_start", request.skip_layer_guidance_start);
    add("skip_layer_guidance_stop", request.skip_layer_guidance_stop);
  }
  if (!request.loras.empty()) text["loras"] = write_loras(request.loras);
  for (const auto& [name, value] : recipe.extra) text[name] = value;
  text["version"] = recipe.version;
  return json_text(text);
}

std::vector<TextChunk> chunks_of(const Recipe& recipe, std::uint64_t seed, const Image& image) {
  return {{std::string(kParametersKey), infotext(recipe, seed, image)},
          {"diffused", recipe_text(recipe, seed, image)}};
}

Result<Picture> encode(const Codec& codec, std::uint64_t seed, const Image& image,
                       const EncodeOptions& options) {
  TRY(std::string bytes, codec.encode(image, options));
  return Picture{seed, image.width, image.height, std::make_shared<const std::string>(std::move(bytes))};
}

std::string lora_tag(const LoraChoice& lora) {
  return lora.text_weight ? fmt::format("<lora:{}:{}:{}>", lora.name, *lora.text_weight, lora.weight)
                          : fmt::format("<lora:{}:{}>", lora.name, lora.weight);
}

}  // namespace

int Recipe::steps() const {
  return listed_steps(model, request).value_or(request.num_inference_steps.value_or(model.default_steps));
}

double Recipe::guidance_scale() const {
  return request.guidance_scale.value_or(model.default_guidance_scale);
}

std::string Recipe::scheduler() const {
  if (!request.scheduler.empty()) return request.scheduler;
  return model.schedulers.empty() ? std::string() : model.schedulers.front();
}

std::string infotext(const Recipe& recipe, std::uint64_t seed, const Image& image) {
  const GenerateRequest& request = recipe.request;
  std::string text = request.prompt;
  for (const LoraChoice& lora : request.loras) text += lora_tag(lora);
  if (request.negative_prompt && !request.negative_prompt->empty())
    text += "\nNegative prompt: " + *request.negative_prompt;
  text += fmt::format(
      "\nSteps: {}, Sampler: {}, Schedule type: {}, CFG scale: {}, Seed: {}, Size: {}x{}, Model: {}",
      recipe.steps(), sampler_label(recipe.scheduler()), spacing_label(recipe.scheduler()),
      recipe.guidance_scale(), seed, request.width.value_or(image.width),
      request.height.value_or(image.height), request.model);
  if (request.strength) text += fmt::format(", Denoising strength: {}", *request.strength);
  // A1111 counts the layer to stop at, 1 being the last.
  if (request.clip_skip.value_or(0) > 0) text += fmt::format(", Clip skip: {}", *request.clip_skip + 1);
  for (const auto& [name, value] : recipe.extra) text += fmt::format(", {}: {}", name, value);
  return text + ", Version: diffused " + recipe.version;
}

Result<Picture> encode_picture(const Codec& codec, int quality, const Recipe& recipe, std::uint64_t seed,
                               const Image& image) {
  return encode(codec, seed, image, {quality, chunks_of(recipe, seed, image)});
}

Result<Picture> encode_picture(const Api& api, const ImageRequest& request, const Recipe& recipe,
                               std::uint64_t seed, const Image& image) {
  return timed(api, recipe.request.model, PictureStage::encode_image, [&] {
    EncodeOptions options{request.quality};
    if (api.options.pictures_tell) options.text = chunks_of(recipe, seed, image);
    return encode(*request.codec, seed, image, options);
  });
}

Result<void> store_picture(const Api& api, std::string_view model, const std::string& id,
                           const storage::Blob& blob) {
  return timed(api, model, PictureStage::store, [&] { return api.images.put(id, blob); });
}

}  // namespace diffused::api
