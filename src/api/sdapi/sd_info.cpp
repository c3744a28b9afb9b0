#include "api/sdapi/sd_info.h"

#include <fmt/chrono.h>

#include "parameters/sampler_names.h"

namespace diffused::api {

std::string sd_timestamp(std::int64_t unix_seconds) {
  return fmt::format("{:%Y%m%d%H%M%S}", fmt::gmtime(static_cast<std::time_t>(unix_seconds)));
}

json::object sd_info(const Recipe& recipe, const SdRequest& request, const std::vector<SdPicture>& pictures,
                     std::int64_t unix_seconds) {
  const GenerateRequest& made = recipe.request;
  const std::string negative = made.negative_prompt.value_or("");
  json::array prompts, negatives, seeds, subseeds, texts;
  for (const SdPicture& picture : pictures) {
    const ImageReady& image = *picture.image;
    prompts.emplace_back(made.prompt);
    negatives.emplace_back(negative);
    seeds.emplace_back(image.seed);
    subseeds.emplace_back(made.variation_seeds.empty() ? image.seed
                                                       : made.variation_seeds[image.image_index]);
    texts.emplace_back(infotext(picture.recipe, image.seed, image.image));
  }
  const std::uint64_t seed = seeds.empty() ? made.seeds.front() : seeds.front().to_number<std::uint64_t>();
  const json::value subseed = subseeds.empty() ? json::value(seed) : subseeds.front();
  json::object extra;
  for (const auto& [name, value] : recipe.extra) extra[name] = value;
  return {{"prompt", made.prompt},
          {"all_prompts", std::move(prompts)},
          {"negative_prompt", negative},
          {"all_negative_prompts", std::move(negatives)},
          {"seed", seed},
          {"all_seeds", std::move(seeds)},
          {"subseed", subseed},
          {"all_subseeds", std::move(subseeds)},
          {"subseed_strength", made.variation_strength.value_or(0)},
          {"width", made.width.value_or(recipe.model.default_width)},
          {"height", made.height.value_or(recipe.model.default_height)},
          {"sampler_name", sampler_label(recipe.scheduler())},
          {"cfg_scale", recipe.guidance_scale()},
          {"steps", recipe.steps()},
          {"batch_size", request.batch_size},
          {"restore_faces", false},
          {"face_restoration_model", nullptr},
          {"sd_model_name", made.model},
          {"sd_model_hash", ""},
          {"sd_vae_name", nullptr},
          {"sd_vae_hash", nullptr},
          {"seed_resize_from_w", -1},
          {"seed_resize_from_h", -1},
          {"denoising_strength", made.strength ? json::value(*made.strength) : json::value(nullptr)},
          {"extra_generation_params", std::move(extra)},
          {"index_of_first_image", 0},
          {"infotexts", std::move(texts)},
          {"styles", json::array(request.styles.begin(), request.styles.end())},
          {"job_timestamp", sd_timestamp(unix_seconds)},
          {"clip_skip", made.clip_skip.value_or(0) + 1},
          {"is_using_inpainting_conditioning", false},
          {"version", "diffused " + recipe.version}};
}

}  // namespace diffused::api
