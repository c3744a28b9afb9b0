// The schemas of what the server answers, for /openapi.json.
#pragma once

#include <boost/json/object.hpp>

namespace diffused::api {

// Each schema by the name that "#/components/schemas/NAME" refers to it.
boost::json::object answer_schemas();

}  // namespace diffused::api
