// A request for pictures as the OpenAI endpoints understand it, and its way from JSON to a job.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/api.h"
#include "api/fields.h"
#include "http/exchange.h"
#include "parameters/job_record.h"

namespace diffused::api {

// How a mask says what is to be repainted.
enum class MaskMode {
  automatic,  // alpha when the mask has any transparency, else luminance
  alpha,      // transparent is repainted, as OpenAI has it
  luminance,  // white is repainted, as Diffusers has it
};

struct ImageRequest : PictureRequest {
  std::string model;  // as the client named it, or empty
  std::optional<int> n;
  std::vector<std::optional<std::uint64_t>> seeds;  // as sent; none: draw one
  bool stream = false;
  bool progress_events = false;
  bool background_job = false;  // answer at once and make the pictures later
  std::string fingerprint;      // openai/fingerprint.h
  MaskMode mask_mode = MaskMode::automatic;
  bool prompt_required = true;

  Spelling spelling;  // for errors
};

// The fields of POST /v1/images/generations, bound to `request`: the list's (parameters/request_fields.h) and
// those of this dialect.
std::vector<Field> generation_fields(const RequestLimits& limits, ImageRequest& request);
// Those of POST /v1/images/edits and /v1/images/variations, without the files.
std::vector<Field> edit_fields(const RequestLimits& limits, ImageRequest& request);

// "512x768", "512*768" or "512X768". Errors: invalid_argument, without a field.
struct Size {
  int width;
  int height;
};
Result<Size> parse_size(std::string_view text, int side_max);

// What a word of `quality` stands for. Unknown words, "auto" and "standard" are "medium", "hd" is "high".
struct Quality {
  std::string_view name;  // as an answer says it, which may not be "auto"
  double steps;           // times the model's default number, where the request names none
};
const Quality& quality_of(std::string_view word);

// The model that a request names, in its path, where Azure's clients have it, or in its body; an alias of the
// caller's own stands for what it means.
std::string named_model(const Api& api, const http::Request& http_request, const ImageRequest& request);

// The model served under that name or chosen by the policy for unknown names. A name that a model once had
// stands for no other one.
// Errors: not_found ("model_not_found"), unavailable while none is loaded, or the default is away.
Result<ServedModel> choose_model(const Api& api, const std::string& name);

// A request that can be submitted, and the model it goes to.
struct ImageJob {
  ImageRequest request;
  ServedModel model;
};

// What is only right or wrong as a whole: draws the seeds, settles n and the response format, and bounds the
// cost. Errors: invalid_argument, with the field as the client spelled it.
Result<ImageJob> complete(const Api& api, ImageRequest request, const ServedModel& model);

// The error with its field as the client spelled it, where the model named a field by our name.
Error as_spelled(Error error, const Spelling& spelling);

}  // namespace diffused::api
