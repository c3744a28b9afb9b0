// What A1111's clients ask for and this server has not.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace diffused::api {

// Adds to `warnings` what of a request's body would change the picture there and does nothing here, in words
// for people. Errors: unsupported for a script, which would make another thing altogether.
Result<void> name_unserved(const boost::json::object& body, std::vector<std::string>& warnings);

}  // namespace diffused::api
