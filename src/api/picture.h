// A finished picture on its way out: as a file's bytes, with what it was made from written into it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/api.h"
#include "api/openai/image_request.h"

namespace diffused::api {

struct Picture {
  std::uint64_t seed = 0;
  int width = 0;  // pixels
  int height = 0;
  std::shared_ptr<const std::string> bytes;  // the file
};

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

// Encodes the picture with the parameters as text: "parameters" as above, and, in a PNG, "diffused" as JSON.
// Takes tens of milliseconds: not on an io thread. Errors: as Codec::encode.
Result<Picture> encode_picture(const Codec& codec, int quality, const Recipe& recipe, std::uint64_t seed,
                               const Image& image);

// The same as the request asks for it, counted; without the parameters where ApiOptions::pictures_tell is
// off.
Result<Picture> encode_picture(const Api& api, const ImageRequest& request, const Recipe& recipe,
                               std::uint64_t seed, const Image& image);

// Keeps a picture under an id, counted. Takes as long as the disk: not on an io thread. Errors: as
// BlobStore::put.
Result<void> store_picture(const Api& api, std::string_view model, const std::string& id,
                           const storage::Blob& blob);

}  // namespace diffused::api
