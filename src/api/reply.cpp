#include "api/reply.h"

#include <charconv>

#include "api/errors.h"
#include "api/trace.h"

namespace diffused::api {

asio::awaitable<void> send_error(http::Exchange& exchange, Error error) {
  co_await exchange.send(respond_to_error(error, status_of(error), exchange.request().path));
}

Result<SubmitOptions> submit_options(const Api& api, const http::Request& request) {
  SubmitOptions options;
  options.user = user_of(request);
  options.request_id = request.request_id;
  options.trace = trace_of(request);
  double seconds = std::chrono::duration<double>(api.options.request_timeout).count();
  if (const std::string_view header = request.header("x-request-timeout"); !header.empty()) {
    const double seconds_max = std::chrono::duration<double>(api.limits().timeout_max).count();
    const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), seconds);
    if (error != std::errc() || end != header.data() + header.size() ||
        !(seconds > 0 && seconds <= seconds_max))
      return fail(ErrorCode::invalid_argument, "X-Request-Timeout must be a number of seconds",
                  "X-Request-Timeout");
  }
  options.deadline = api.clock.now() +
                     std::chrono::duration_cast<SteadyTime::duration>(std::chrono::duration<double>(seconds));
  return options;
}

}  // namespace diffused::api
