#include <fmt/format.h>

#include "api/endpoints.h"
#include "api/errors.h"
#include "api/memory.h"
#include "api/offload.h"
#include "api/openai/answer.h"
#include "api/openai/fingerprint.h"
#include "api/openai/uploads.h"
#include "base/pages.h"
#include "image/channels.h"
#include "image/resize.h"
#include "job/request_rules.h"

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

// For a model that goes by pictures: those, after the one that is repainted where there is a mask, or that
// one is started from where two come and one is needed. What is hidden in a picture is never seen.
Result<void> read_references(const UploadForm& form, const PipelineInfo& model,
                             const http::Request& http_request, MaskMode mode, const DecodeLimits& limits,
                             GenerateRequest& request) {
  if (form.images.empty()) return wrong_edit("image is required", "image", "missing_required_parameter");
  if (form.masks.size() > 1) return wrong_edit("one mask is accepted", form.masks[1].field);
  const bool masked = !form.masks.empty();
  if (masked && !model.inpaint)
    return fail(ErrorCode::unsupported, "this model does not take a mask", form.masks[0].field);
  const bool two = masked || model.reference_needed;
  const auto most = static_cast<std::size_t>(two ? 1 + kReferencesWithMaskMax : model.references_max);
  if (form.images.size() > most) {
    return fail(
        ErrorCode::unsupported,
        most == 1 ? "this model takes one image" : fmt::format("this model takes at most {} images", most),
        form.images[most].field);
  }
  const bool starts = masked || (model.reference_needed && form.images.size() > 1);
  for (const Upload& upload : form.images) {
    TRY(Image picture, decode_upload(upload, limits));
    if (model.reference_needed && !request.width && !request.height) {
      const Size own = size_for_upload(picture, model);
      request.width = own.width;
      request.height = own.height;
    }
    if (starts && !request.init_image) {
      if (masked) {
        TRY(Image mask, read_mask(form.masks[0], picture, mode, limits));
        request.mask = held_picture(std::move(mask), http_request);
      }
      request.init_image = held_picture(to_rgb(on_paper(std::move(picture))), http_request);
    } else {
      request.references.push_back(held_picture(to_rgb(on_paper(std::move(picture))), http_request));
    }
  }
  return {};
}

// Decodes what the model can take. As OpenAI has it, a transparent picture that is to be edited is its own
// mask. What is hidden in a picture is never seen.
Result<EditPictures> read_pictures(const UploadForm& form, const PipelineInfo& model, MaskMode mode,
                                   bool variation, const DecodeLimits& limits) {
  if (form.images.empty()) return wrong_edit("image is required", "image", "missing_required_parameter");
  if (form.images.size() > 1)
    return fail(ErrorCode::unsupported, "this model takes one image", form.images[1].field);
  if (!model.image_to_image && !model.inpaint)
    return fail(ErrorCode::unsupported, "this model does not edit images", form.images[0].field);
  if (form.masks.size() > 1) return wrong_edit("one mask is accepted", form.masks[1].field);
  if (!form.masks.empty() && !model.inpaint)
    return fail(ErrorCode::unsupported, "this model does not take a mask", form.masks[0].field);
  EditPictures pictures;
  TRY(pictures.image, decode_upload(form.images[0], limits));
  if (!form.masks.empty()) {
    TRY(pictures.mask, read_mask(form.masks[0], pictures.image, mode, limits));
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
  if (limits.strict) TRY_VOID(refuse_unknown(fields, form.fields, {"image", "images", "mask"}));
  TRY(request.spelling, read_fields(fields, form.fields, form.source));
  TRY(const ServedModel model, choose_model(api, named_model(api, http_request, request)));
  request.fingerprint = fingerprint_of(http_request);
  if (model.info.references_max > 0) {
    TRY_VOID(read_references(form, model.info, http_request, request.mask_mode,
                             counted(limits.upload, http_request), request.generate));
    request.spelling["references"] = request.spelling["image"] = form.images[0].field;
    return complete(api, std::move(request), model);
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
  const GenerateRequest& generate = job->request.generate;
  std::uint64_t bytes = bytes_of(generate.init_image) + bytes_of(generate.mask);
  for (const auto& reference : generate.references) bytes += bytes_of(reference);
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
