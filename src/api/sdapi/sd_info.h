// A1111's account of what was made.
#pragma once

#include <boost/json/object.hpp>
#include <vector>

#include "api/picture.h"
#include "api/sdapi/sd_request.h"

namespace diffused::api {

// The object that its clients find as text in "info" and take apart.
json::object sd_info(const Recipe& recipe, const SdRequest& request, const std::vector<ImageReady>& images,
                     std::int64_t unix_seconds);

// "20261123141000": when something began, in UTC.
std::string sd_timestamp(std::int64_t unix_seconds);

}  // namespace diffused::api
