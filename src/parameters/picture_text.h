// What a picture was made from, as the texts that its file carries. Pure; any thread.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "image/codec.h"
#include "job/job.h"

namespace diffused {

// Names and values of A1111's text, in their order.
using ExtraParameters = std::vector<std::pair<std::string, std::string>>;

// What a picture was made from, with the model's defaults filled in where the request left them open.
struct Recipe {
  GenerateRequest request;
  PipelineInfo model;
  std::string version;         // the program's
  ExtraParameters extra = {};  // what else A1111's text says

  int steps() const;
  double guidance_scale() const;
  std::string scheduler() const;  // a sampler's class name
};

// The parameters as AUTOMATIC1111's programs write and read them: prompt, negative prompt, "Steps: 28,
// Sampler: …"; its clip skip is one more than ours. "Size" is what was asked for, of which a picture may
// differ.
std::string infotext(const Recipe& recipe, std::uint64_t seed, const Image& image);

// The texts of a file: "parameters" as above, and "diffused", which holds the request's fields
// (parameters/request_fields.h) as JSON.
std::vector<TextChunk> picture_texts(const Recipe& recipe, std::uint64_t seed, const Image& image);

}  // namespace diffused
