// A job as the job store keeps it: all that is needed to make its pictures, the same ones each time. Pure;
// any thread.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "image/codec.h"
#include "job/dispatcher.h"
#include "job/job.h"

namespace diffused {

// How pictures travel.
enum class ResponseFormat { url, b64_json };

// Pictures that are wanted, and how they are to be handed over: what of a request outlives its connection.
struct PictureRequest {
  GenerateRequest generate;  // prompt and model settings as sent, until the rest is filled in
  std::optional<ResponseFormat> response_format;
  const Codec* codec = nullptr;  // null: PNG, or what Accept asks for
  int quality = 100;             // 0 to 100, for JPEG and WebP
  std::string quality_preset;    // "low", "hd", …
  int partial_images = 0;        // how many unfinished pictures are shown of each
  std::string safety_identifier;
};

struct JobSpec {
  PictureRequest
      request;  // resolved as far as its server could, its seeds drawn; without the pictures it starts from
  // By the names of each_picture (parameters/request_fields.h): blobs of Background::inputs().
  std::map<std::string, std::vector<std::string>, std::less<>> pictures;
  // Whether a client of another server waits for its end, and whether also for its steps and previews.
  std::optional<bool> awaited, watched;
};

// All of its blobs.
std::vector<std::string> picture_ids(const JobSpec& spec);

// One line of JSON.
std::string write_spec(const JobSpec& spec);
// Errors: data_loss when it is not one that write_spec made.
Result<JobSpec> read_spec(const std::string& text);

// {"queue_seconds", …}, and back. Reading throws where it is no such object.
boost::json::object write_timings(const Timings& timings);
Timings read_timings(const boost::json::value& object);

// The name of a job's kind: jobs of equal names share forward passes.
std::string batch_key(const GenerateRequest& request);

}  // namespace diffused
