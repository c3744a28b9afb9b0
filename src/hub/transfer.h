// HTTP as a hub wants it: redirects followed by hand, so that the token stays with the hub.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "hub/environment.h"
#include "web/client.h"

namespace diffused::hub {

// A reply on its way: 200, or 206 from byte `begin` on.
struct ReplyStart {
  std::uint64_t begin = 0;
  std::optional<std::uint64_t> length;  // bytes still to come
};

struct Receiver {
  std::function<Result<void>(const ReplyStart&)> start;  // before the first byte; once
  std::function<Result<void>(std::string_view)> data;
};

// One connection at a time, kept for the next request. One thread at a time.
//
// Errors of all requests. unavailable: worth another try, perhaps after `retry_after` (no connection, a
// transfer cut short or stalled, status 429 or 5xx). Final: unauthorized (401), forbidden (403), not_found
// (404), data_loss (what no hub answers: other statuses, redirects without end or out of https). `reason` is
// the hub's own word for it, such as "GatedRepo". What a Receiver returns ends the request.
class Transfer {
 public:
  // Must outlive the Transfer: `environment`.
  explicit Transfer(const Environment& environment) : environment_(environment) {}

  // A short answer's body. data_loss when it is longer than `bytes_max`.
  Result<std::string> text(const std::string& url, std::size_t bytes_max);

  // The header of what the hub says about a file, before it sends one elsewhere.
  Result<web::Headers> describe(const std::string& url);

  // A body from `begin` on, as far as the server can: ReplyStart says where it begins.
  Result<void> bytes(const std::string& url, std::uint64_t begin, const Receiver& receiver);

 private:
  struct Exchange;
  Result<void> follow(std::string url, Exchange& exchange);
  Result<void> perform(const std::string& url, Exchange& exchange);

  const Environment& environment_;
  web::Client client_;
};

}  // namespace diffused::hub
