// From the body of txt2img and img2img to a job.
#pragma once

#include <optional>

#include "api/sdapi/repaint.h"
#include "api/sdapi/sd_request.h"
#include "http/exchange.h"

namespace diffused::api {

// A request that is ready to run, and what is echoed of it.
struct SdJob {
  ImageJob job;
  SdRequest request;
  json::object parameters;              // the body without its pictures
  Size enlarged{};                      // of the second pass, where there is one
  std::optional<Repaint> repaint = {};  // where there is a mask; its picture and mask are the job's
};

// Read a request's body. Not on an io thread: pictures are decoded and resized. Errors: as json_body,
// read_fields and complete; not_found without an init image, as A1111 has it; unsupported by the model.
Result<SdJob> read_sd_text_job(const Api& api, const http::Request& request);
Result<SdJob> read_sd_image_job(const Api& api, const http::Request& request);

// Bytes of memory that it takes while it waits, and that its pictures take at most.
std::uint64_t bytes_of(const SdJob& job);
std::uint64_t result_bytes(const SdJob& job);

// The second pass ("hires. fix") over one picture of the first: the same again from that picture, enlarged.
// Not on an io thread.
// Precondition: enable_hr.
GenerateRequest second_pass(const SdJob& job, const Image& picture, std::uint64_t seed);

}  // namespace diffused::api
