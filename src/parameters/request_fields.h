// START HERE for the room `parameters`: what a picture is made from, as data. It knows no HTTP and no model.
//
// This header is THE LIST of a request's fields and of the pictures that it may be made from. JSON bodies,
// forms and /openapi.json (api/listed_fields.h), the command line (app/request_options.h), a job's row
// (request_json.h), the text in a picture (picture_text.h) and the call of a pipeline in Diffusers
// (diffusers/request.cpp) all visit it. A new field is a member of GenerateRequest and one line here:
// docs/adding/request_field.md.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "job/job.h"

namespace diffused {

// The bounds that a server sets. These are the widest ones.
struct FieldLimits {
  int steps_max = 1000;
  int side_max = 65536;  // pixels
  std::size_t prompt_characters_max = 1 << 20;
  double guidance_scale_max = 1000;
};

// From `least` to `most`, both included: the value of a number, the length in characters of a text, and each
// number of a list.
struct FieldRange {
  double least = 0, most = 0;
};

constexpr std::size_t kLorasMax = 16;

// What there is to say about one field. All texts are literals.
struct FieldInfo {
  std::string_view name;   // the canonical one, in all places; the command line writes '-' for '_'
  std::string_view about;  // for people: its meaning, and what its absence means
  FieldRange range = {};
  std::array<std::string_view, 4> aliases = {};  // clients' other words for it; the rest is empty
  std::array<std::string_view, 4> words = {};    // the only texts that are accepted; all empty: any text
  std::size_t items_min = 0, items_max = 0;      // of a list
  std::string_view option = {};                  // the command line's word, where it is not the name
  bool with_picture = false;                     // it means something only with a picture to start from
};

// The functions below call `visit(const FieldInfo&, member)` for each field of a part of the list, in the
// order in which people see them. A member is a std::string, a std::optional of int, double, std::string or
// std::array<int, 2> or StepCache, or a std::vector of int, double or LoraChoice. `Request` is
// GenerateRequest, const or not. Pure; any thread.

template <typename Request, typename Visit>
void each_prompt_field(Request& r, const FieldLimits& limits, const Visit& visit) {
  const FieldRange text{0, static_cast<double>(limits.prompt_characters_max)};
  visit({"prompt", "What the picture shows.", {1, text.most}}, r.prompt);
  visit({"prompt_2", "For the second text encoder; absent: prompt.", text}, r.prompt_2);
  visit({"prompt_3", "For the third text encoder; absent: prompt.", text}, r.prompt_3);
  visit({"negative_prompt", "What the picture does not show.", text, {"neg_prompt", "negativePrompt"}},
        r.negative_prompt);
  visit({"negative_prompt_2", "For the second text encoder.", text}, r.negative_prompt_2);
  visit({"negative_prompt_3", "For the third text encoder.", text}, r.negative_prompt_3);
}

// What all families of models know.
template <typename Request, typename Visit>
void each_general_field(Request& r, const FieldLimits& limits, const Visit& visit) {
  const FieldRange side{1, static_cast<double>(limits.side_max)};
  visit({"width", "Pixels; overrides size.", side}, r.width);
  visit({"height", "Pixels; overrides size.", side}, r.height);
  visit({.name = "num_inference_steps",
         .about = "Denoising steps.",
         .range = {1, static_cast<double>(limits.steps_max)},
         .aliases = {"steps", "step", "sample_steps"},
         .option = "steps"},
        r.num_inference_steps);
  visit({"guidance_scale",
         "How closely the prompt is followed; 1 or less: no negative prompt.",
         {0, limits.guidance_scale_max},
         {"cfg_scale", "cfg", "guidance"}},
        r.guidance_scale);
  visit({"scheduler",
         "A sampler that GET /v1/models tells, by its class's name or A1111's or k-diffusion's.",
         {0, 64},
         {"sampler", "sampler_name", "sample_method", "scheduler_name"}},
        r.scheduler);
  visit({.name = "loras",
         .about = "LoRAs of the model to use, all at once.",
         .aliases = {"lora", "lora_alphas"},
         .items_max = kLorasMax,
         .option = "lora"},
        r.loras);
  visit({.name = "strength",
         .about = "How far the picture may leave the image: 0 not at all, 1 altogether.",
         .range = {0, 1},
         .aliases = {"denoising_strength", "image_strength"},
         .with_picture = true},
        r.strength);
}

// What only some families know: of guidance and of texts.
template <typename Request, typename Visit>
void each_condition_field(Request& r, const FieldLimits& limits, const Visit& visit) {
  const FieldRange share{0, 1};
  visit({"guidance_rescale", "SD and SDXL: against overexposure by guidance.", share}, r.guidance_rescale);
  visit({"cfg_normalization",
         "Z-Image: how many times its unguided norm the network's result may have; 0 or absent: any.",
         {0, 100}},
        r.cfg_normalization);
  visit({"cfg_truncation",
         "Z-Image: up to which share of the way from noise to picture there is guidance; absent: 1.", share},
        r.cfg_truncation);
  visit({"true_cfg_scale",
         "For models that are told guidance_scale (FLUX): above 1, the negative prompt is used.",
         {0, limits.guidance_scale_max}},
        r.true_cfg_scale);
  visit({"clip_skip", "How many of CLIP's last layers to leave out.", {0, 64}}, r.clip_skip);
  visit({"max_sequence_length", "Tokens for the T5 encoder.", {1, 512}}, r.max_sequence_length);
  visit({.name = "prompt_syntax",
         .about = "a1111: (word:1.3), [word], BREAK and prompts of any length; diffusers: plain text.",
         .words = {"diffusers", "a1111"}},
        r.prompt_syntax);
  visit({.name = "decoder",
         .about = "tiny: a small decoder, where GET /v1/models tells one; less work and nearly as good.",
         .words = {kFullDecoder, kTinyDecoder}},
        r.decoder);
  visit({.name = "cache",
         .about = "Steps that are foretold and not made, by a mode that GET /v1/models tells; absent: the "
                  "server's.",
         .range = {0, kCacheThresholdMax}},
        r.cache);
}

// What SDXL and its refiner are told of a picture.
template <typename Request, typename Visit>
void each_size_field(Request& r, const Visit& visit) {
  const auto pair = [](std::string_view name, std::string_view about) {
    return FieldInfo{.name = name, .about = about, .range = {0, 65536}, .items_min = 2, .items_max = 2};
  };
  visit(pair("original_size", "SDXL: height and width the picture seems to come from; absent: its own."),
        r.original_size);
  visit(pair("crops_coords_top_left", "SDXL: where it seems to be cropped; absent: [0, 0]."),
        r.crops_coords_top_left);
  visit(pair("target_size", "SDXL: height and width it is meant to have; absent: its own."), r.target_size);
  visit(pair("negative_original_size", "SDXL: what original_size it is not."), r.negative_original_size);
  visit(pair("negative_crops_coords_top_left", "SDXL: how it is not cropped."),
        r.negative_crops_coords_top_left);
  visit(pair("negative_target_size", "SDXL: what target_size it is not."), r.negative_target_size);
  visit({"aesthetic_score", "SDXL's refiner: how well the picture is to please; absent: 6.", {0, 10}},
        r.aesthetic_score);
  visit(
      {"negative_aesthetic_score", "SDXL's refiner: the same of the negative prompt; absent: 2.5.", {0, 10}},
      r.negative_aesthetic_score);
}

// How the denoising steps go.
template <typename Request, typename Visit>
void each_step_field(Request& r, const FieldLimits& limits, const Visit& visit) {
  const FieldRange share{0, 1}, level{0, 100000};
  // Some schedulers end with a level more than there are steps.
  const std::size_t levels_max = static_cast<std::size_t>(limits.steps_max) + 1;
  visit({.name = "flow_shift",
         .about = "How early a flow model spends its steps; absent: its own.",
         .range = {0.01, 100},  // schedules of less or more have no two different steps left
         .aliases = {"shift"}},
        r.flow_shift);
  visit({.name = "sigmas",
         .about = "The steps' noise levels, falling, for schedulers that take them; their number is that of "
                  "the steps.",
         .range = level,
         .items_max = levels_max},
        r.sigmas);
  visit({.name = "timesteps",
         .about = "SD and SDXL: the steps' timesteps, falling, for schedulers that take them.",
         .range = level,
         .items_max = levels_max},
        r.timesteps);
  visit({"denoising_start",
         "SDXL, with an image that another model began: the share of the way at which it stands.", share},
        r.denoising_start);
  visit({"denoising_end", "SDXL: the share of the way from noise to picture at which to end.", share},
        r.denoising_end);
  visit({"eta", "DDIM and TCD: how much noise each step adds; absent: none.", share}, r.eta);
  visit({.name = "skip_guidance_layers",
         .about =
             "SD3: the transformer's blocks that skip-layer guidance leaves out; absent: no such guidance.",
         .range = {0, 1023},
         .items_max = 128},
        r.skip_guidance_layers);
  visit({"skip_layer_guidance_scale", "SD3: its strength; absent: 2.8.", {0, 100}},
        r.skip_layer_guidance_scale);
  visit({"skip_layer_guidance_start", "SD3: the share of the steps after which it begins; absent: 0.01.",
         share},
        r.skip_layer_guidance_start);
  visit({"skip_layer_guidance_stop", "SD3: the share of the steps at which it ends; absent: 0.2.", share},
        r.skip_layer_guidance_stop);
}

// The whole list.
template <typename Request, typename Visit>
void each_field(Request&& request, const FieldLimits& limits, const Visit& visit) {
  each_prompt_field(request, limits, visit);
  each_general_field(request, limits, visit);
  each_condition_field(request, limits, visit);
  each_size_field(request, visit);
  each_step_field(request, limits, visit);
}
template <typename Request, typename Visit>
void each_field(Request&& request, const Visit& visit) {
  each_field(request, FieldLimits{}, visit);
}

// What there is to say about a picture, or a list of pictures, that a request is made from.
struct PictureInfo {
  std::string_view name;    // in a job's row
  std::string_view part;    // of a form, and the member of a JSON body. Two may share one: the model decides
  std::string_view option;  // on the command line
  std::string_view about;
  bool is_mask = false;  // it is grey, and marks what is repainted
};

// THE LIST of pictures: calls `visit(const PictureInfo&, member)`, where a member is a std::shared_ptr<const
// Image>, null for none, or a std::vector of them.
template <typename Request, typename Visit>
void each_picture(Request&& r, const Visit& visit) {
  visit({"init_image", "image", "image", "The picture to start from."}, r.init_image);
  visit({"mask", "mask", "mask", "What is to be repainted, in the picture's size: white, or transparent.",
         /*is_mask=*/true},
        r.mask);
  visit({"references", "image", "reference", "A picture to go by, in models that take any."}, r.references);
}

// The parts that hold pictures, each once.
inline std::vector<std::string_view> picture_parts() {
  std::vector<std::string_view> parts;
  each_picture(GenerateRequest(), [&](const PictureInfo& input, const auto&) {
    if (std::ranges::count(parts, input.part) == 0) parts.push_back(input.part);
  });
  return parts;
}

// A member of each_picture as a list, and with one more.
using PicturePointer = std::shared_ptr<const Image>;
inline std::vector<PicturePointer> pictures_in(const PicturePointer& picture) {
  return picture ? std::vector{picture} : std::vector<PicturePointer>();
}
inline const std::vector<PicturePointer>& pictures_in(const std::vector<PicturePointer>& pictures) {
  return pictures;
}
inline void add_picture(PicturePointer& to, PicturePointer picture) { to = std::move(picture); }
inline void add_picture(std::vector<PicturePointer>& to, PicturePointer picture) {
  to.push_back(std::move(picture));
}

// All pictures that the request is made from.
inline std::vector<PicturePointer> all_pictures(const GenerateRequest& request) {
  std::vector<PicturePointer> all;
  each_picture(request, [&](const PictureInfo&, const auto& member) {
    const auto& pictures = pictures_in(member);
    all.insert(all.end(), pictures.begin(), pictures.end());
  });
  return all;
}

}  // namespace diffused
