// A finished picture on its way out: as a file's bytes, with what it was made from written into it.
#pragma once

#include <memory>
#include <string>

#include "api/api.h"
#include "api/openai/image_request.h"
#include "parameters/picture_text.h"

namespace diffused::api {

struct Picture {
  std::uint64_t seed = 0;
  int width = 0;  // pixels
  int height = 0;
  std::shared_ptr<const std::string> bytes;  // the file
};

// Encodes the picture with its texts (parameters/picture_text.h).
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
