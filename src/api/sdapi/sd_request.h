// A request as AUTOMATIC1111's clients word it, and its way to a job.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/api.h"
#include "api/openai/image_request.h"
#include "image/fit.h"

namespace diffused::api {

struct SdRequest {
  ImageRequest image;  // what both dialects share
  int batch_size = 1;
  int n_iter = 1;
  std::string sampler;
  std::string spacing;           // of the sampler's steps: A1111's "scheduler"
  std::string checkpoint;        // from override_settings
  std::optional<int> clip_skip;  // A1111's count: 1 leaves out nothing
  bool send_images = true;
  bool mask_inverted = false;
  double mask_blur = 4;         // pixels; A1111's default, as those that follow
  Fit fit = Fit::stretch;       // of a picture of other proportions
  bool only_masked = true;      // the masked part is made in full size and put back
  int only_masked_padding = 0;  // pixels
  bool enable_hr = false;       // a second pass over an enlarged picture
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
// make. A sampler or a spacing that the model has not becomes its own, which is logged. Errors: as complete.
Result<ImageJob> complete_sd(const Api& api, const SdRequest& request, const ServedModel& model);

// A side of a picture, rounded down to a multiple that the model can make.
int fitting_side(const PipelineInfo& model, int side);

}  // namespace diffused::api
