#include "api/openai/uploads.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/errors.h"
#include "api/json_body.h"
#include "base/utf8.h"
#include "http/multipart.h"
#include "image/base64.h"
#include "image/channels.h"
#include "parameters/request_fields.h"

namespace diffused::api {
namespace {

// Of a mask's greys the first that is repainted (GenerateRequest::mask).
constexpr std::uint8_t kRepainted = 128;

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// The list's part that a part of a form is: image, image[] and image[0] are "image", others have only their
// name. Empty: it is no picture.
std::string_view picture_part(std::string_view name) {
  if (starts_with(name, "image[") && name.back() == ']') return "image";
  const auto parts = picture_parts();
  const auto part = std::ranges::find(parts, name);
  return part == parts.end() ? std::string_view() : *part;
}

tl::unexpected<Error> wrong_upload(std::string message, std::string_view field) {
  return fail(ErrorCode::invalid_argument, std::move(message), std::string(field));
}

Result<void> check_image_count(std::size_t count, std::size_t images_max, std::string_view field) {
  if (count <= images_max) return {};
  return wrong_upload(fmt::format("at most {} images are accepted", images_max), field);
}

// Forms spell lists and objects with brackets: xs[]=1 and xs[]=2, lora[name]=a.
void add_field(json::object& fields, std::string_view name, std::string_view text) {
  const json::string_view value(text.data(), text.size());
  const std::size_t open = name.find('[');
  if (open == 0 || open == std::string_view::npos || name.back() != ']') {
    fields[{name.data(), name.size()}] = value;
    return;
  }
  json::value& field = fields[{name.data(), open}];
  const std::string_view key = name.substr(open + 1, name.size() - open - 2);
  if (key.empty()) {
    if (!field.is_array()) field.emplace_array();
    field.get_array().emplace_back(value);
  } else {
    if (!field.is_object()) field.emplace_object();
    field.get_object()[{key.data(), key.size()}] = value;
  }
}

// What a browser sends for a file input in which nothing was chosen, and other clients for no file.
bool is_no_file(const http::Part& part) { return part.filename.empty() && part.data.empty(); }

Result<UploadForm> read_multipart(const http::Request& request, std::size_t images_max) {
  TRY(const auto parts, http::parse_multipart(request.header("content-type"), request.body));
  UploadForm form;
  form.source = Source::form;
  for (const http::Part& part : parts) {
    const std::string_view picture = picture_part(part.name);
    if ((!picture.empty() || part.name == "markup") && is_no_file(part)) continue;
    if (!picture.empty()) {
      std::vector<Upload>& uploads = form.pictures[std::string(picture)];
      uploads.push_back({part.name, std::string(part.data)});
      TRY_VOID(check_image_count(uploads.size(), images_max, part.name));
    } else if (part.name == "markup") {
      return fail(ErrorCode::unsupported, "markup is not supported: draw it into the image", part.name);
    } else if (is_utf8(part.data)) {
      add_field(form.fields, part.name, part.data);
    } else if (part.filename.empty()) {
      return wrong_upload(fmt::format("{} is not UTF-8 text", part.name), part.name);
    }  // else a file that nothing here is known to want
  }
  return form;
}

// Whether there is no image where one could be: null, an empty text, or an object of nothing else.
bool is_no_image(const json::value& item) {
  if (item.is_null() || item == "") return true;
  const auto* object = item.if_object();
  return object != nullptr && !object->empty() &&
         std::ranges::all_of(*object, [](const auto& member) { return is_no_image(member.value()); });
}

// One image of a JSON body, whichever of the spellings in use it has.
Result<std::string> item_bytes(const json::value& item) {
  if (const auto* object = item.if_object()) {
    for (const char* name : {"image_url", "url", "b64_json", "base64"})
      if (const auto* inner = object->if_contains(name); inner != nullptr && !is_no_image(*inner))
        return item_bytes(*inner);
    if (object->contains("file_id"))
      return fail(ErrorCode::unsupported, "file_id is not supported: send the image itself");
  }
  if (!item.is_string())
    return fail(ErrorCode::invalid_argument,
                "an image must be a data URL, base64, or an object with image_url");
  const std::string_view text(item.get_string().data(), item.get_string().size());
  constexpr std::size_t kSchemeMax = 32;  // https://, file:///
  if (!starts_with(text, "data:") && text.substr(0, kSchemeMax).find("://") != std::string_view::npos)
    return fail(ErrorCode::invalid_argument, "image URLs are not fetched: send a data URL");
  return from_data_url(text);
}

}  // namespace

Result<void> take_images(const json::object& body, std::string_view name, std::size_t images_max,
                         std::vector<Upload>& uploads) {
  const auto* member = body.if_contains({name.data(), name.size()});
  if (member == nullptr) return {};
  const json::array one{*member};
  const json::array& items = member->is_array() ? member->get_array() : one;
  for (const json::value& item : items) {
    if (is_no_image(item)) continue;
    auto bytes = item_bytes(item);
    if (!bytes) return about(bytes.error(), name);
    uploads.push_back({std::string(name), *std::move(bytes)});
    TRY_VOID(check_image_count(uploads.size(), images_max, name));
  }
  return {};
}

Result<UploadForm> read_upload_form(const http::Request& request, std::size_t images_max) {
  if (http::is_multipart(request.header("content-type"))) return read_multipart(request, images_max);
  if (!is_content_type(request.header("content-type"), "application/json")) {
    return fail(ErrorCode::invalid_argument, "send the body as multipart/form-data or application/json", {},
                "unsupported_content_type");
  }
  UploadForm form;
  TRY(form.fields, json_body(request));
  TRY_VOID(take_images(form.fields, "images", images_max, form.pictures["image"]));
  for (const std::string_view part : picture_parts())
    TRY_VOID(
        take_images(form.fields, part, part == "image" ? images_max : 1, form.pictures[std::string(part)]));
  return form;
}

const std::vector<Upload>& UploadForm::of(std::string_view part) const {
  static const std::vector<Upload> kNone;
  const auto found = pictures.find(part);
  return found == pictures.end() ? kNone : found->second;
}

Result<Image> decode_upload(const Upload& upload, const DecodeLimits& limits) {
  auto image = decode_image(upload.bytes, limits);
  if (!image) return about(image.error(), upload.field);
  return image;
}

Result<Image> to_mask(Image image, MaskMode mode) {
  if (mode == MaskMode::alpha && image.channels != 4)
    return fail(ErrorCode::invalid_argument, "the mask has no alpha channel, which mask_mode asks for");
  const bool alpha = mode == MaskMode::alpha || (mode == MaskMode::automatic && has_transparency(image));
  return alpha ? mask_from_alpha(image) : to_grey(std::move(image));
}

std::optional<Image> mask_within(const Image& image) {
  if (!has_transparency(image)) return std::nullopt;
  Image mask = mask_from_alpha(image);
  if (std::ranges::max(mask.pixels) < kRepainted) return std::nullopt;
  return mask;
}

Size size_for_upload(const Image& image, const PipelineInfo& model) {
  const int longest = std::max(image.width, image.height);
  const double scale = longest > model.max_side ? static_cast<double>(model.max_side) / longest : 1.0;
  const auto fit = [&](int side) {
    const int scaled = static_cast<int>(side * scale);
    return std::max(scaled / model.size_multiple * model.size_multiple, model.size_multiple);
  };
  return {fit(image.width), fit(image.height)};
}

}  // namespace diffused::api
