// An image request as the job store keeps it: all that is needed to make its pictures, the same ones each
// time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/openai/image_request.h"

namespace diffused::api {

struct JobSpec {
  ImageRequest
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

// The name of a job's kind: jobs of equal names share forward passes.
std::string batch_key(const GenerateRequest& request);

}  // namespace diffused::api
