// A request as AUTOMATIC1111's clients word it, and its way to a job.
#pragma once

#include <array>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/api.h"
#include "api/openai/image_request.h"
#include "image/channels.h"
#include "image/fit.h"

namespace diffused::api {

struct SdRequest {
  ImageRequest image;  // what both dialects share
  int batch_size = 1;
  int n_iter = 1;
  std::string sampler;
  std::string spacing;              // of the sampler's steps: A1111's "scheduler"
  std::string checkpoint;           // from override_settings
  std::optional<int> clip_skip;     // A1111's count: 1 leaves out nothing
  std::vector<std::string> styles;  // by name, each put upon what those before made of the prompts
  std::string samples_format;       // of the pictures' files; empty: as the user chose before, or png
  int jpeg_quality = 80;            // and WebP's
  std::vector<std::optional<std::uint64_t>> subseed;  // as sent; none: random
  double subseed_strength = 0;  // above 0 all pictures have one seed, and subseeds that count up
  bool send_images = true;
  std::array<std::uint8_t, 3> paper = kWhite;  // what shows through a transparent picture
  bool mask_inverted = false;
  bool mask_rounded = true;     // a mask's alpha is all or nothing
  double mask_blur = 4;         // pixels; A1111's default, as those that follow
  Fit fit = Fit::stretch;       // of a picture of other proportions
  bool only_masked = true;      // the masked part is made in full size and put back
  int only_masked_padding = 0;  // pixels
  bool enable_hr = false;       // a second pass over an enlarged picture
  std::string hr_upscaler;      // of the first pass' picture; none of ours: Lanczos
  std::optional<double> hr_scale;
  std::optional<int> hr_width, hr_height;
  std::optional<int> hr_steps;
};

// The fields of POST /sdapi/v1/txt2img, and those of img2img without the pictures, bound to `request`.
std::vector<Field> sd_text_fields(const RequestLimits& limits, SdRequest& request);
std::vector<Field> sd_image_fields(const RequestLimits& limits, SdRequest& request);

// The model: the request's, else the one that the user chose before, else the default. Errors: as
// choose_model.
Result<ServedModel> choose_sd_model(const Api& api, const std::string& user, const SdRequest& request);

// Settles what is right or wrong only as a whole. As A1111 does, sides are rounded down to what the model can
// make, and a LoRA, a sampler or a spacing that the model has not is done without, which is said in
// `warnings`; a strict server refuses it. Errors: as complete.
Result<ImageJob> complete_sd(const Api& api, const SdRequest& request, const ServedModel& model,
                             std::vector<std::string>& warnings);

// A side of a picture, rounded down to a multiple that the model can make.
int fitting_side(const PipelineInfo& model, int side);

}  // namespace diffused::api
