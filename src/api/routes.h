// The list of endpoints.
#pragma once

#include <string_view>
#include <vector>

#include "api/api.h"
#include "http/exchange.h"

namespace diffused::api {

// What an endpoint reads.
enum class BodyKind {
  none,
  generation,
  edit,
  variation,
  sd_text,
  sd_image,
  sd_picture,
  sd_extra,
  sd_extras,
  sd_options,
  ignored
};

// A route and what /openapi.json says of it.
struct Endpoint {
  http::Route route;
  std::string_view summary;
  BodyKind body = BodyKind::none;
  std::string_view answer;  // a schema of openapi_schemas.cpp, or a media type
};

// Every endpoint of the server: THE LIST. `api` must outlive them.
std::vector<Endpoint> make_endpoints(const Api& api);

// Their routes.
std::vector<http::Route> make_routes(const Api& api);

// For whoever watches the machine, at an address that clients do not reach: the signs of life, and the
// figures without a key.
std::vector<http::Route> make_watch_routes(const Api& api);

}  // namespace diffused::api
