#include "api/sdapi/sd_job.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/json_body.h"
#include "api/memory.h"
#include "api/openai/uploads.h"
#include "api/sdapi/unserved.h"
#include "base/json_text.h"
#include "image/channels.h"

namespace diffused::api {
namespace {

// A1111's defaults.
constexpr double kImageStrength = 0.75;
constexpr double kSecondPassStrength = 0.7;
constexpr double kSecondPassScale = 2;
// Of each pixel of a picture, while its mask is brought to its size and made soft.
constexpr std::uint64_t kRepaintBytes = 6;

// As A1111 has it: one side alone keeps the proportions, two are covered. Errors: invalid_argument when it is
// more than the server or the model makes.
Result<Size> enlarged_size(const RequestLimits& limits, const PipelineInfo& model, const SdRequest& request,
                           const GenerateRequest& first) {
  const double scale = request.hr_scale.value_or(kSecondPassScale);
  const int width = request.hr_width.value_or(0), height = request.hr_height.value_or(0);
  const auto in_proportion = [](int side, int other, int to) {
    return static_cast<int>(std::int64_t{side} * to / other);
  };
  Size size{width, height};
  if (width == 0 && height == 0) {
    size = {static_cast<int>(*first.width * scale), static_cast<int>(*first.height * scale)};
  } else if (height == 0) {
    size.height = in_proportion(width, *first.width, *first.height);
  } else if (width == 0) {
    size.width = in_proportion(height, *first.height, *first.width);
  }
  size = {fitting_side(model, size.width), fitting_side(model, size.height)};
  const int side_max = std::min(limits.side_max, model.max_side);
  if (size.width <= side_max && size.height <= side_max) return size;
  return fail(ErrorCode::invalid_argument,
              fmt::format("the enlarged picture would be {}x{}; at most {} pixels are made on a side",
                          size.width, size.height, side_max),
              "hr_scale");
}

Upscaler hires_upscaler(const Api& api, const std::string& name, std::vector<std::string>& warnings) {
  auto upscaler = find_upscaler(api, name);
  if (!upscaler)
    warnings.push_back(fmt::format("the hr_upscaler \"{}\" is not served; {} was used", name, kLanczos));
  return upscaler && upscaler->enlarges() ? *std::move(upscaler) : Upscaler{kLanczos};
}

// In A1111's words and order.
ExtraParameters second_pass_parameters(const SdRequest& request, const Upscaler& upscaler) {
  ExtraParameters extra;
  const int width = request.hr_width.value_or(0), height = request.hr_height.value_or(0);
  if (width == 0 && height == 0)
    extra.emplace_back("Hires upscale", fmt::format("{}", request.hr_scale.value_or(kSecondPassScale)));
  else
    extra.emplace_back("Hires resize", fmt::format("{}x{}", width, height));
  if (request.hr_steps.value_or(0) > 0) extra.emplace_back("Hires steps", std::to_string(*request.hr_steps));
  extra.emplace_back("Hires upscaler", upscaler.name);
  return extra;
}

void choose_format(const Api& api, const http::Request& http_request, SdRequest& request) {
  if (request.samples_format.empty())
    request.samples_format = api.sd_board->options(user_of(http_request)).samples_format;
}

// What the model is given of a picture to start from, in the size of the job.
Result<SdStart> start_of(const SdJob& job, Image picture, const std::optional<Image>& mask,
                         const http::Request& http_request) {
  const GenerateRequest& generate = job.job.request.generate;
  const int width = *generate.width, height = *generate.height;
  SdStart start;
  if (!mask) {
    picture = to_rgb(on_paper(std::move(picture), job.request.paper));
    start.picture = held_picture(fit_lanczos(picture, width, height, job.request.fit), http_request);
    return start;
  }
  TRY_VOID(hold(http_request, kRepaintBytes * picture.width * picture.height + bytes_of(*mask),
                "what is repainted of the picture"));
  start.repaint = prepare_repaint(job.request, std::move(picture), *mask, width, height);
  start.picture = held_picture(std::move(start.repaint->picture), http_request);
  start.mask = held_picture(std::move(start.repaint->mask), http_request);
  return start;
}

}  // namespace

Result<SdJob> read_sd_text_job(const Api& api, const http::Request& http_request) {
  SdJob parsed;
  TRY(parsed.parameters, json_body(http_request));
  SdRequest& request = parsed.request;
  const auto fields = sd_text_fields(api.limits(), request);
  // Numbers as text are read as numbers, as A1111's own reader does.
  TRY(request.image.spelling, read_fields(fields, parsed.parameters, Source::form));
  choose_format(api, http_request, request);
  TRY_VOID(name_unserved(parsed.parameters, parsed.warnings));
  TRY(const ServedModel model, choose_sd_model(api, user_of(http_request), request));
  TRY(parsed.job, complete_sd(api, request, model, parsed.warnings));
  GenerateRequest& generate = parsed.job.request.generate;
  if (!request.enable_hr) {
    generate.strength.reset();
    return parsed;
  }
  generate.strength = generate.strength.value_or(kSecondPassStrength);
  TRY(parsed.enlarged, enlarged_size(api.limits(), model.info, request, generate));
  parsed.upscaler = hires_upscaler(api, request.hr_upscaler, parsed.warnings);
  parsed.extra = second_pass_parameters(request, parsed.upscaler);
  if (!model.info.image_to_image)
    return fail(ErrorCode::unsupported, "this model cannot make a larger picture from a first one",
                "enable_hr");
  return parsed;
}

Result<SdJob> read_sd_image_job(const Api& api, const http::Request& http_request) {
  const RequestLimits& limits = api.limits();
  SdJob parsed;
  TRY_VOID(hold(http_request, 2 * http_request.body.size(), "its parts"));
  TRY(parsed.parameters, json_body(http_request));
  SdRequest& request = parsed.request;
  TRY(request.image.spelling, read_fields(sd_image_fields(limits, request), parsed.parameters, Source::form));
  choose_format(api, http_request, request);
  TRY_VOID(name_unserved(parsed.parameters, parsed.warnings));
  std::vector<Upload> images, masks;
  TRY_VOID(take_images(parsed.parameters, "init_images", limits.n_max, images));
  TRY_VOID(take_images(parsed.parameters, "mask", 1, masks));
  for (const char* picture : {"init_images", "mask"}) parsed.parameters[picture] = nullptr;
  if (images.empty()) return fail(ErrorCode::not_found, "Init image not found", "init_images");
  // Several are the pictures of one batch.
  if (images.size() > 1 && images.size() > static_cast<std::size_t>(request.batch_size))
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} pictures are sent to start from, but batch_size is {}", images.size(),
                            request.batch_size),
                "init_images");
  if (images.size() > 1) request.batch_size = static_cast<int>(images.size());
  const DecodeLimits decode_limits = counted(limits.upload, http_request);
  std::vector<Image> pictures(images.size());
  for (std::size_t i = 0; i < images.size(); ++i) {
    TRY(pictures[i], decode_upload(images[i], decode_limits));
  }
  TRY(const ServedModel model, choose_sd_model(api, user_of(http_request), request));
  if (masks.empty() ? !model.info.image_to_image : !model.info.inpaint)
    return fail(ErrorCode::unsupported,
                model.info.inpaint ? "this model only inpaints: it needs a mask"
                                   : "this model does not change pictures",
                "init_images");
  GenerateRequest& wanted = request.image.generate;
  const Size own = size_for_upload(pictures.front(), model.info);
  wanted.width = wanted.width.value_or(own.width);
  wanted.height = wanted.height.value_or(own.height);
  wanted.strength = wanted.strength.value_or(kImageStrength);
  TRY(parsed.job, complete_sd(api, request, model, parsed.warnings));
  std::optional<Image> mask;
  if (!masks.empty()) {
    TRY(mask, decode_upload(masks[0], decode_limits));
  }
  for (Image& picture : pictures) {
    TRY(SdStart start, start_of(parsed, std::move(picture), mask, http_request));
    parsed.starts.push_back(std::move(start));
  }
  return parsed;
}

std::uint64_t bytes_of(const SdJob& job) {
  // Written out, what remains of the body is as long as it was; read, twice.
  std::uint64_t bytes = 2 * json_text(job.parameters).size();
  for (const SdStart& start : job.starts) {
    bytes += bytes_of(start.picture) + bytes_of(start.mask);
    if (start.repaint) bytes += bytes_of(start.repaint->whole) + bytes_of(start.repaint->shown);
  }
  return bytes;
}

std::uint64_t result_bytes(const SdJob& job) {
  const auto bytes_at = [&](int width, int height) {
    GenerateRequest request = job.job.request.generate;
    request.width = width;
    request.height = height;
    return result_bytes(request, job.job.model.info, /*as_text=*/true);
  };
  if (job.request.enable_hr) return bytes_at(job.enlarged.width, job.enlarged.height);
  std::uint64_t bytes = result_bytes(job.job.request.generate, job.job.model.info, /*as_text=*/true);
  for (const SdStart& start : job.starts)
    if (start.repaint)
      bytes = std::max(bytes, bytes_at(start.repaint->whole.width, start.repaint->whole.height));
  return bytes;
}

GenerateRequest second_pass(const SdJob& job, const ImageReady& picture) {
  GenerateRequest second = job.job.request.generate;
  second.width = job.enlarged.width;
  second.height = job.enlarged.height;
  if (job.request.hr_steps.value_or(0) > 0) second.num_inference_steps = job.request.hr_steps;
  second.seeds = {picture.seed};
  if (!second.variation_seeds.empty()) second.variation_seeds = {second.variation_seeds[picture.image_index]};
  second.init_image = std::make_shared<const Image>(
      fit_lanczos(to_rgb(picture.image), *second.width, *second.height, Fit::crop));
  return second;
}

}  // namespace diffused::api
