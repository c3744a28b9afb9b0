#include <fmt/format.h>

#include "api/endpoints.h"
#include "api/errors.h"
#include "api/memory.h"
#include "api/openai/answer.h"
#include "api/openai/fingerprint.h"
#include "api/openai/uploads.h"
#include "async/offload.h"
#include "base/pages.h"
#include "image/channels.h"
#include "image/resize.h"
#include "parameters/request_fields.h"

namespace diffused::api {
namespace {

// OpenAI takes sixteen; how many are taken here the model says.
constexpr std::size_t kImagesMax = 16;

tl::unexpected<Error> wrong_edit(std::string message, std::string_view field, std::string reason = {}) {
  return fail(ErrorCode::invalid_argument, std::move(message), std::string(field), std::move(reason));
}

// The files of one request, decoded.
struct EditPictures {
  Image image;
  std::optional<Image> mask;
};

Result<Image> read_mask(const Upload& upload, const Image& image, MaskMode mode, const DecodeLimits& limits) {
  TRY(Image decoded, decode_upload(upload, limits));
  if (decoded.width != image.width || decoded.height != image.height)
    return wrong_edit("the mask must have the size of the image", upload.field);
  auto mask = to_mask(std::move(decoded), mode);
  if (!mask) return about(mask.error(), upload.field);
  return mask;
}

// Pictures to go by, for a model that takes such and starts from none. What is hidden in a picture is never
// seen.
Result<std::vector<std::shared_ptr<const Image>>> read_references(const UploadForm& form,
                                                                  const PipelineInfo& model,
                                                                  const http::Request& http_request,
                                                                  const DecodeLimits& limits) {
  const auto &images = form.of("image"), &masks = form.of("mask");
  if (images.empty()) return wrong_edit("image is required", "image", "missing_required_parameter");
  if (!masks.empty()) return fail(ErrorCode::unsupported, "this model does not take a mask", masks[0].field);
  const auto most = static_cast<std::size_t>(model.references_max);
  if (images.size() > most) {
    return fail(
        ErrorCode::unsupported,
        most == 1 ? "this model takes one image" : fmt::format("this model takes at most {} images", most),
        images[most].field);
  }
  std::vector<std::shared_ptr<const Image>> references;
  for (const Upload& upload : images) {
    TRY(Image picture, decode_upload(upload, limits));
    references.push_back(held_picture(to_rgb(on_paper(std::move(picture))), http_request));
  }
  return references;
}

// Decodes what the model can take. As OpenAI has it, a transparent picture that is to be edited is its own
// mask. What is hidden in a picture is never seen.
Result<EditPictures> read_pictures(const UploadForm& form, const PipelineInfo& model, MaskMode mode,
                                   bool variation, const DecodeLimits& limits) {
  const auto &images = form.of("image"), &masks = form.of("mask");
  if (images.empty()) return wrong_edit("image is required", "image", "missing_required_parameter");
  if (images.size() > 1) return fail(ErrorCode::unsupported, "this model takes one image", images[1].field);
  if (!model.image_to_image && !model.inpaint)
    return fail(ErrorCode::unsupported, "this model does not edit images", images[0].field);
  if (masks.size() > 1) return wrong_edit("one mask is accepted", masks[1].field);
  if (!masks.empty() && !model.inpaint)
    return fail(ErrorCode::unsupported, "this model does not take a mask", masks[0].field);
  EditPictures pictures;
  TRY(pictures.image, decode_upload(images[0], limits));
  if (!masks.empty()) {
    TRY(pictures.mask, read_mask(masks[0], pictures.image, mode, limits));
  } else if (!variation && model.inpaint && mode != MaskMode::luminance) {
    pictures.mask = mask_within(pictures.image);
  }
  pictures.image = to_rgb(on_paper(std::move(pictures.image)));
  return pictures;
}

// The picture in the size that is made, as Diffusers resizes it.
Image fitted(const Image& image, const GenerateRequest& request) {
  return resize_lanczos(image, *request.width, *request.height);
}

Result<ImageJob> parse_edit(const Api& api, const http::Request& http_request, bool variation) {
  const RequestLimits& limits = api.limits();
  const std::uint64_t body_bytes = http_request.body.size();
  TRY_VOID(hold(http_request, 2 * body_bytes, "its parts"));
  TRY(const UploadForm form, read_upload_form(http_request, kImagesMax));
  ImageRequest request;
  request.prompt_required = !variation;
  const auto fields = edit_fields(limits, request);
  std::vector<std::string_view> others = picture_parts();
  others.push_back("images");
  if (limits.strict) TRY_VOID(refuse_unknown(fields, form.fields, others));
  TRY(request.spelling, read_fields(fields, form.fields, form.source));
  TRY(const ServedModel model, choose_model(api, named_model(api, http_request, request)));
  request.fingerprint = fingerprint_of(http_request);
  if (model.info.references_max > 0 && !model.info.image_to_image) {
    TRY(request.generate.references,
        read_references(form, model.info, http_request, counted(limits.upload, http_request)));
    auto job = complete(api, std::move(request), model);
    if (!job && job.error().field == "references") job.error().field = form.of("image")[0].field;
    return job;
  }
  TRY(EditPictures pictures,
      read_pictures(form, model.info, request.mask_mode, variation, counted(limits.upload, http_request)));
  const Size own = size_for_upload(pictures.image, model.info);
  request.generate.width = request.generate.width.value_or(own.width);
  request.generate.height = request.generate.height.value_or(own.height);
  // Resizing comes last: only now is the size known to be one that is allowed.
  TRY(ImageJob job, complete(api, std::move(request), model));
  GenerateRequest& generate = job.request.generate;
  generate.init_image = held_picture(fitted(pictures.image, generate), http_request);
  if (pictures.mask) generate.mask = held_picture(fitted(*pictures.mask, generate), http_request);
  return job;
}

asio::awaitable<void> edit(const Api& api, http::Exchange& exchange, bool variation) {
  // Base64, decoding and resizing take up to a second for a large photograph.
  const http::Request& request = exchange.request();
  auto job = co_await offload_slow(api.workers, user_of(request),
                                   [&] { return parse_edit(api, request, variation); });
  if (!job) co_return co_await send_error(exchange, job.error());
  // All that counts of the body has been read.
  std::uint64_t bytes = 0;
  for (const PicturePointer& picture : all_pictures(job->request.generate)) bytes += bytes_of(picture);
  hold_only(request, bytes);
  drop_text(exchange.take_body());
  co_await answer_images(api, exchange, *std::move(job), "image_edit");
}

}  // namespace

asio::awaitable<void> edit_image(const Api& api, http::Exchange& exchange) {
  return edit(api, exchange, false);
}
asio::awaitable<void> vary_image(const Api& api, http::Exchange& exchange) {
  return edit(api, exchange, true);
}

}  // namespace diffused::api
