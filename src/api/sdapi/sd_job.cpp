#include "api/sdapi/sd_job.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/json_body.h"
#include "api/memory.h"
#include "api/openai/uploads.h"
#include "base/json_text.h"
#include "image/channels.h"
#include "image/resize.h"

namespace diffused::api {
namespace {

// A1111's defaults.
constexpr double kImageStrength = 0.75;
constexpr double kSecondPassStrength = 0.7;
constexpr double kSecondPassScale = 2;
// Of each pixel of a picture, while its mask is brought to its size and made soft.
constexpr std::uint64_t kRepaintBytes = 6;

// The size of the second pass. Errors: invalid_argument when it is more than the server or the model makes.
Result<Size> enlarged_size(const RequestLimits& limits, const PipelineInfo& model, const SdRequest& request,
                           const GenerateRequest& first) {
  const double scale = request.hr_scale.value_or(kSecondPassScale);
  const auto side = [&](std::optional<int> wanted, int before) {
    const bool given = wanted.value_or(0) > 0;
    return fitting_side(model, given ? *wanted : static_cast<int>(before * scale));
  };
  const Size size{side(request.hr_width, first.width.value_or(model.default_width)),
                  side(request.hr_height, first.height.value_or(model.default_height))};
  const int side_max = std::min(limits.side_max, model.max_side);
  if (size.width <= side_max && size.height <= side_max) return size;
  return fail(ErrorCode::invalid_argument,
              fmt::format("the enlarged picture would be {}x{}; at most {} pixels are made on a side",
                          size.width, size.height, side_max),
              "hr_scale");
}

}  // namespace

Result<SdJob> read_sd_text_job(const Api& api, const http::Request& http_request) {
  SdJob parsed;
  TRY(parsed.parameters, json_body(http_request));
  SdRequest& request = parsed.request;
  const auto fields = sd_text_fields(api.options.limits, request);
  // Numbers as text are read as numbers, as A1111's own reader does.
  TRY(request.image.spelling, read_fields(fields, parsed.parameters, Source::form));
  TRY(const ServedModel model, choose_sd_model(api, user_of(http_request), request));
  TRY(parsed.job, complete_sd(api, request, model));
  GenerateRequest& generate = parsed.job.request.generate;
  if (!request.enable_hr) {
    generate.strength.reset();
    return parsed;
  }
  TRY(parsed.enlarged, enlarged_size(api.options.limits, model.info, request, generate));
  if (!model.info.image_to_image)
    return fail(ErrorCode::unsupported, "this model cannot make a larger picture from a first one",
                "enable_hr");
  return parsed;
}

Result<SdJob> read_sd_image_job(const Api& api, const http::Request& http_request) {
  const RequestLimits& limits = api.options.limits;
  SdJob parsed;
  TRY_VOID(hold(http_request, 2 * http_request.body.size(), "its parts"));
  TRY(parsed.parameters, json_body(http_request));
  SdRequest& request = parsed.request;
  TRY(request.image.spelling, read_fields(sd_image_fields(limits, request), parsed.parameters, Source::form));
  std::vector<Upload> images, masks;
  TRY_VOID(take_images(parsed.parameters, "init_images", 1, images));
  TRY_VOID(take_images(parsed.parameters, "mask", 1, masks));
  for (const char* picture : {"init_images", "mask"}) parsed.parameters[picture] = nullptr;
  if (images.empty()) return fail(ErrorCode::not_found, "Init image not found", "init_images");
  const DecodeLimits decode_limits = counted(limits.upload, http_request);
  TRY(Image image, decode_upload(images[0], decode_limits));
  TRY(const ServedModel model, choose_sd_model(api, user_of(http_request), request));
  if (!model.info.image_to_image || (!masks.empty() && !model.info.inpaint))
    return fail(ErrorCode::unsupported, "this model does not change pictures", "init_images");
  GenerateRequest& wanted = request.image.generate;
  const Size own = size_for_upload(image, model.info);
  wanted.width = wanted.width.value_or(own.width);
  wanted.height = wanted.height.value_or(own.height);
  wanted.strength = wanted.strength.value_or(kImageStrength);
  TRY(parsed.job, complete_sd(api, request, model));
  GenerateRequest& generate = parsed.job.request.generate;
  const int width = *generate.width, height = *generate.height;
  if (masks.empty()) {
    generate.init_image =
        held_picture(fit_lanczos(to_rgb(std::move(image)), width, height, request.fit), http_request);
    return parsed;
  }
  TRY(Image mask, decode_upload(masks[0], decode_limits));
  TRY_VOID(
      hold(http_request, kRepaintBytes * image.width * image.height, "what is repainted of the picture"));
  parsed.repaint = prepare_repaint(request, std::move(image), std::move(mask), width, height);
  generate.init_image = held_picture(std::move(parsed.repaint->picture), http_request);
  generate.mask = held_picture(std::move(parsed.repaint->mask), http_request);
  return parsed;
}

std::uint64_t bytes_of(const SdJob& job) {
  const GenerateRequest& generate = job.job.request.generate;
  std::uint64_t bytes = bytes_of(generate.init_image) + bytes_of(generate.mask);
  if (job.repaint) bytes += bytes_of(job.repaint->whole) + bytes_of(job.repaint->shown);
  // Written out, what remains of the body is as long as it was; read, twice.
  return bytes + 2 * json_text(job.parameters).size();
}

std::uint64_t result_bytes(const SdJob& job) {
  GenerateRequest largest = job.job.request.generate;
  if (job.request.enable_hr) {
    largest.width = job.enlarged.width;
    largest.height = job.enlarged.height;
  }
  if (job.repaint) {
    largest.width = job.repaint->whole.width;
    largest.height = job.repaint->whole.height;
  }
  return result_bytes(largest, job.job.model.info, /*as_text=*/true);
}

GenerateRequest second_pass(const SdJob& job, const Image& picture, std::uint64_t seed) {
  GenerateRequest second = job.job.request.generate;
  second.width = job.enlarged.width;
  second.height = job.enlarged.height;
  second.strength = second.strength.value_or(kSecondPassStrength);
  if (job.request.hr_steps.value_or(0) > 0) second.num_inference_steps = job.request.hr_steps;
  second.seeds = {seed};
  second.init_image =
      std::make_shared<const Image>(resize_lanczos(to_rgb(picture), *second.width, *second.height));
  return second;
}

}  // namespace diffused::api
