// What makes pictures larger in A1111's dialect: Lanczos, and the networks that the dispatcher has.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>

#include "api/api.h"
#include "api/openai/image_request.h"
#include "http/exchange.h"
#include "image/codec.h"

namespace diffused::api {

constexpr const char* kNoUpscaler = "None";
constexpr const char* kLanczos = "Lanczos";

struct Upscaler {
  std::string name = kNoUpscaler;           // as /sdapi/v1/upscalers lists it
  std::optional<ServedModel> network = {};  // none: what the name says

  bool enlarges() const { return name != kNoUpscaler; }
};

// The upscaler of that name or alias; none for an empty one. Error: invalid_argument, which lists them.
Result<Upscaler> find_upscaler(const Api& api, const std::string& name);

// The picture through a network until it is at least that large, or three times, as A1111 has it: it may come
// out larger, and without its alpha. Charges for what is made. Errors: invalid_argument where a side or the
// pixels would be more than the limits, and as Dispatcher::submit. Throws operation_aborted when the exchange
// is cancelled.
boost::asio::awaitable<Result<Image>> run_upscaler(const Api& api, http::Exchange& exchange,
                                                   const ServedModel& network, Image image, Size least);

}  // namespace diffused::api
