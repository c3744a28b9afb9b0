// START HERE: the nouns and the two interfaces at which the rooms meet.
//
// A *request* (GenerateRequest) asks one model for n pictures. The api room validates it and hands it to a
// Dispatcher, which answers with a Ticket and then tells an EventSink what happens. The engine turns the
// request into n *rows* (one picture being denoised each) and runs them on a Pipeline in *units*: the
// smallest pieces of device work. Nothing here knows HTTP, JSON or torch.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/image.h"
#include "job/step_cache.h"
#include "job/weights.h"

namespace diffused {

// A small change of the model's weights, made for one request.
struct LoraChoice {
  std::string name;  // one of PipelineInfo::loras
  double weight = 1;
  std::optional<double> text_weight = {};  // in the text encoders; absent: weight
};

inline constexpr const char* kFullDecoder = "full";  // the model's own
inline constexpr const char* kTinyDecoder = "tiny";

// What a client wants, validated and bounded by the api room. Absent values are filled in by
// Pipeline::resolve.
struct GenerateRequest {
  std::string model;  // the served name, never empty once dispatched
  std::string prompt;
  std::optional<std::string> prompt_2, prompt_3;  // absent or empty: as prompt
  std::optional<std::string> negative_prompt;     // absent: empty
  std::optional<std::string> negative_prompt_2, negative_prompt_3;
  std::optional<int> width, height;  // pixels
  std::optional<int> num_inference_steps;
  // Classifier-free guidance when > 1; in models that are told it (FLUX) what they are told.
  std::optional<double> guidance_scale;
  std::optional<double> true_cfg_scale;    // classifier-free guidance of models that are told guidance_scale
  std::optional<double> guidance_rescale;  // 0 to 1; absent: 0
  // Z-Image's: how many times its unguided norm the network's result may have (0 or absent: any), and the
  // share of the way from noise to picture up to which there is guidance (absent: 1).
  std::optional<double> cfg_normalization, cfg_truncation;
  std::optional<int> clip_skip;
  std::optional<int> max_sequence_length;  // T5 tokens
  // "a1111": prompts have weights and any length (tokenizers/weighted_prompt.h), and clip_skip counts for the
  // negative prompt too. "diffusers", or absent: plain text, cut off where the encoders end.
  std::optional<std::string> prompt_syntax;
  std::string scheduler;             // a sampler's name; empty: the folder's own
  std::optional<double> flow_shift;  // of the noise levels, > 0; absent: the folder's own
  // The steps' noise levels, or the timesteps that belong to them, falling, in place of the scheduler's own:
  // as Diffusers' arguments of these names, and then their number says how many steps there are. One of the
  // two, or none.
  std::vector<double> sigmas, timesteps;
  std::optional<double> eta;  // 0 to 1, of DDIM and TCD: how much of their noise they add; absent: 0
  // Skip-layer guidance of Stable Diffusion 3: the transformer's blocks that one more call leaves out, how
  // strongly the picture is led away from what that gives, and between which shares of the steps. Empty:
  // none.
  std::vector<int> skip_guidance_layers;
  std::optional<double> skip_layer_guidance_scale, skip_layer_guidance_start, skip_layer_guidance_stop;
  // Steps that need not be made; absent: as PipelineInfo::default_cache says.
  std::optional<StepCache> cache;
  std::optional<std::string> decoder;  // "tiny": as PipelineInfo::decoders has it; "full", or absent
  std::vector<LoraChoice> loras;       // all at once; one named twice counts with the sum of its weights
  std::vector<std::uint64_t> seeds;    // one per picture; its size is n
  // Variations of the pictures: as many seeds, or none, of other noises, and how far each picture's first
  // noise is turned towards its other one: 0 to 1.
  std::vector<std::uint64_t> variation_seeds;
  std::optional<double> variation_strength;
  // What SDXL was trained to be told of a picture: its size before it was scaled and cropped, where the crop
  // began, and the size it is meant to have. Height (or top) and width (or left) in pixels.
  std::optional<std::array<int, 2>> original_size, crops_coords_top_left, target_size;
  std::optional<std::array<int, 2>> negative_original_size, negative_crops_coords_top_left,
      negative_target_size;
  // Image-to-image and inpainting: absent for text-to-image. The pictures are shared, never changed.
  std::shared_ptr<const Image> init_image;
  std::shared_ptr<const Image> mask;  // grey; >= 128 is repainted
  std::optional<double> strength;     // 0 to 1; where that leaves no step: the picture as it is
  // Of Stable Diffusion XL, whose run two models may share: the share of the way from noise to picture at
  // which it ends, and at which it begins with an init_image that has its noise; above 0 and below 1.
  std::optional<double> denoising_start, denoising_end;
  // What SDXL's refiner is told of how well the picture pleases, and the negative prompt's.
  std::optional<double> aesthetic_score, negative_aesthetic_score;
  // Pictures to go by, in models that take any, in the order in which they are spoken of.
  std::vector<std::shared_ptr<const Image>> references;

  std::size_t n() const { return seeds.size(); }
};

// What one served model is, for lists, defaults and limits. Immutable after loading.
struct PipelineInfo {
  std::string class_name;         // as in model_index.json: "StableDiffusion3Pipeline"
  std::string dtype;              // "bf16" or "fp32"
  std::string device;             // "cpu", "cuda"
  std::string engine = "native";  // or "diffusers": it runs in Diffusers itself, in a process of its own
  std::uint64_t parameters = 0;
  std::vector<NetworkWeights> networks;
  int default_width = 0, default_height = 0;  // pixels
  int size_multiple = 0;                      // width and height must be multiples of this
  int max_side = 0;                           // pixels; what the position table allows
  int default_steps = 0;
  double default_guidance_scale = 0;
  std::vector<std::string> decoders;       // names accepted in GenerateRequest::decoder besides "full"
  std::vector<std::string> caches;         // modes accepted in GenerateRequest::cache besides "none"
  std::optional<StepCache> default_cache;  // what a request means that names none; absent: "none"
  std::vector<std::string> schedulers;     // names accepted in GenerateRequest::scheduler, the default first
  std::vector<std::string> loras;          // names accepted in GenerateRequest::loras, sorted
  std::map<std::string, std::string> lora_aliases;  // what a LoRA's file calls itself → its name above
  std::vector<std::string> embeddings;              // words of prompts that stand for learned vectors, sorted
  bool image_to_image = false;
  bool inpaint = false;
  int references_max = 0;         // how many GenerateRequest::references may be
  bool reference_needed = false;  // whether there must be one
  bool flow_shift = false;        // whether GenerateRequest::flow_shift may be given
  bool one_unit = false;          // whether a picture is one unit: it takes no turns, and ends no sooner
  // An upscaler, which takes a picture and nothing else: how many times longer it makes its sides. 0: none.
  int enlarges = 0;
  // Whether guidance_scale is told to the network: a negative prompt then counts only with
  // GenerateRequest::true_cfg_scale > 1.
  bool true_cfg_scale = false;

  // Of all its networks, whoever else has them.
  std::uint64_t weight_bytes() const {
    WeightSum sum;
    sum.add(networks);
    return sum.bytes();
  }
};

}  // namespace diffused
