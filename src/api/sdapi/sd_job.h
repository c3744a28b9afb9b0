// From the body of txt2img and img2img to a job.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/picture.h"
#include "api/sdapi/repaint.h"
#include "api/sdapi/sd_request.h"
#include "api/sdapi/upscaling.h"
#include "http/exchange.h"

namespace diffused::api {

// What pictures of img2img are made from.
struct SdStart {
  std::shared_ptr<const Image> picture;  // RGB, in the size that is made
  // Where there is a mask; its own picture and mask are those here.
  std::shared_ptr<const Image> mask = nullptr;
  std::optional<Repaint> repaint = {};
};

// A request that is ready to run, and what is echoed of it.
struct SdJob {
  ImageJob job;
  SdRequest request;
  json::object parameters;            // the body without its pictures
  Size enlarged{};                    // of the second pass, where there is one
  Upscaler upscaler;                  // that brings the first pass' picture to that size
  std::vector<SdStart> starts;        // of img2img: picture i is made from number i modulo their number
  std::vector<std::string> warnings;  // what of the request is not as it was asked for
  // What the pictures' text says besides what is said of all: of the second pass, where there is one.
  ExtraParameters extra;
};

// Read a request's body. Not on an io thread: pictures are decoded and resized. Errors: as json_body,
// read_fields and complete; not_found without an init image, as A1111 has it; unsupported by the model.
Result<SdJob> read_sd_text_job(const Api& api, const http::Request& request);
Result<SdJob> read_sd_image_job(const Api& api, const http::Request& request);

// Bytes of memory that it takes while it waits, and that its pictures take at most.
std::uint64_t bytes_of(const SdJob& job);
std::uint64_t result_bytes(const SdJob& job);

// The second pass ("hires. fix") over one picture of the first: the same again from that picture, enlarged,
// and cut where the proportions are others.
// Not on an io thread.
// Precondition: enable_hr.
GenerateRequest second_pass(const SdJob& job, const ImageReady& picture);

}  // namespace diffused::api
