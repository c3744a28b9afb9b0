#include "parameters/picture_text.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>

#include "base/json_text.h"
#include "job/request_rules.h"
#include "parameters/request_json.h"
#include "parameters/sampler_names.h"

namespace diffused {
namespace {

namespace json = boost::json;

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
  const StepCache cache = with_threshold(request.cache ? request.cache : recipe.model.default_cache);
  if (cache.on()) text["cache"] = {{"mode", cache.mode}, {"threshold", *cache.threshold}};
  write_given_fields(request, text);
  for (const auto& [name, value] : recipe.extra) text[name] = value;
  text["version"] = recipe.version;
  return json_text(text);
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

std::vector<TextChunk> picture_texts(const Recipe& recipe, std::uint64_t seed, const Image& image) {
  return {{std::string(kParametersKey), infotext(recipe, seed, image)},
          {"diffused", recipe_text(recipe, seed, image)}};
}

}  // namespace diffused
