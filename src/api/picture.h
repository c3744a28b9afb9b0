// Finished pictures on their way to whoever asked for them.
#pragma once

#include <string>
#include <string_view>

#include "api/api.h"
#include "parameters/picture_file.h"

namespace diffused::api {

// As PictureOutput's functions (background/picture_output.h), with this server's parts; without texts where
// ApiOptions::pictures_tell is off. Not on an io thread.
Result<Picture> encode_picture(const Api& api, const PictureRequest& request, const Recipe& recipe,
                               std::uint64_t seed, const Image& image);
Result<void> store_picture(const Api& api, std::string_view model, const std::string& id,
                           const storage::Blob& blob);

}  // namespace diffused::api
