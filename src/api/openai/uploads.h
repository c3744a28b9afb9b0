// Pictures that clients send: found in a form or in JSON, decoded, and made to fit the job.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <string>
#include <vector>

#include "api/api.h"
#include "api/openai/image_request.h"
#include "http/exchange.h"

namespace diffused::api {

// A file as sent, not yet looked into.
struct Upload {
  std::string field;  // as the client spelled it
  std::string bytes;
};

// What a body holds: its fields, to be read with the table, and its files.
struct UploadForm {
  json::object fields;
  Source source = Source::json;
  // By the parts of each_picture (parameters/request_fields.h), each in order.
  std::map<std::string, std::vector<Upload>, std::less<>> pictures;

  const std::vector<Upload>& of(std::string_view part) const;  // empty: none was sent
};

// Takes a multipart/form-data or JSON body apart. Pictures are the parts of each_picture: in a form, files
// named image, image[] and image[0] are "image", in any order among the other parts; in JSON, `image` and
// `images` hold one item or a list, and the other members one item, each a data URL, bare base64 or an object
// with image_url, b64_json or base64. A file input that was left empty,
// null and "" are no image. No URL is ever fetched. Not on an io thread: megabytes are decoded. Errors:
// unsupported_content_type, invalid_argument (malformed, not base64, a URL, more than `images_max` images),
// unsupported (file_id), payload_too_large (too many parts).
Result<UploadForm> read_upload_form(const http::Request& request, std::size_t images_max);

// Adds the images that a member of a JSON body holds, one or a list of them, in the spellings above.
Result<void> take_images(const json::object& body, std::string_view name, std::size_t images_max,
                         std::vector<Upload>& uploads);

// Decodes an upload whatever it calls itself. Errors: as decode_image, with the field.
Result<Image> decode_upload(const Upload& upload, const DecodeLimits& limits);

// The mask in grey, 255 repainted. Errors: invalid_argument when `mode` is alpha and there is none.
Result<Image> to_mask(Image image, MaskMode mode);

// The mask that a picture is for itself, as OpenAI has it: what is transparent is repainted. None where there
// is not enough of that to repaint anything.
std::optional<Image> mask_within(const Image& image);

// The size of picture that an uploaded one asks for when the request names none: its own, shrunk in
// proportion to the model's largest side and rounded down to the model's multiple.
Size size_for_upload(const Image& image, const PipelineInfo& model);

}  // namespace diffused::api
