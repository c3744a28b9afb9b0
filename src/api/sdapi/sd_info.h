// A1111's account of what was made.
#pragma once

#include <boost/json/object.hpp>
#include <vector>

#include "api/picture.h"
#include "api/sdapi/sd_request.h"

namespace diffused::api {

// A picture, and what its text says.
struct SdPicture {
  const ImageReady* image;
  Recipe recipe;
};

// The object that its clients find as text in "info" and take apart. `recipe` is that of all the pictures.
json::object sd_info(const Recipe& recipe, const SdRequest& request, const std::vector<SdPicture>& pictures,
                     std::int64_t unix_seconds);

// "20261123141000": when something began, in UTC.
std::string sd_timestamp(std::int64_t unix_seconds);

}  // namespace diffused::api
