#include "hub/transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

namespace diffused::hub {
namespace {

using web::origin;
using web::redirected;
using web::value_of;

constexpr int kRedirectsMax = 5;
constexpr long kRetrySecondsMax = 60;

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || text.empty() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "bytes 100-199/200" → 100
std::optional<std::uint64_t> range_begin(const std::string& content_range) {
  constexpr std::string_view kUnit = "bytes ";
  if (!content_range.starts_with(kUnit)) return std::nullopt;
  return number(std::string_view(content_range).substr(kUnit.size(), content_range.find('-') - kUnit.size()));
}

// A word of the hub's, if it is one.
std::string reason_of(const web::Headers& headers) {
  const std::string word = value_of(headers, "x-error-code");
  const bool good =
      word.size() <= 64 && std::ranges::all_of(word, [](unsigned char c) { return std::isalnum(c) != 0; });
  return good ? word : std::string();
}

Error status_error(const std::string& host, long status, const web::Headers& headers) {
  const std::string message = fmt::format("{} answered with status {}", host, status);
  if (status == 429 || status >= 500) {
    Error error{ErrorCode::unavailable, message, {}, {}};
    if (const auto seconds = number(value_of(headers, "retry-after")))
      error.retry_after = std::chrono::seconds(std::min<std::uint64_t>(*seconds, kRetrySecondsMax));
    return error;
  }
  const ErrorCode code = status == 401   ? ErrorCode::unauthorized
                         : status == 403 ? ErrorCode::forbidden
                         : status == 404 ? ErrorCode::not_found
                                         : ErrorCode::data_loss;
  return {code, message, {}, reason_of(headers)};
}

}  // namespace

// One request and what came back of it so far.
struct Transfer::Exchange {
  bool head_only = false;
  bool cross_origins = true;  // else a redirect to another origin ends the exchange
  std::uint64_t begin = 0;
  const Receiver* receiver = nullptr;

  web::Reply reply;
  bool started = false;

  // The body of a reply that is wanted; others are read and dropped.
  Result<void> take(const web::Reply& from, std::string_view piece);
};

Result<void> Transfer::Exchange::take(const web::Reply& from, std::string_view piece) {
  if (receiver == nullptr || (from.status != 200 && from.status != 206)) return {};
  if (!started) {
    started = true;
    ReplyStart start;
    if (from.status == 206) {
      const auto first = range_begin(value_of(from.headers, "content-range"));
      if (!first || *first > begin)
        return fail(ErrorCode::data_loss, "another part was sent than the one asked for");
      start.begin = *first;
    }
    start.length = number(value_of(from.headers, "content-length"));
    TRY_VOID(receiver->start(start));
  }
  return piece.empty() ? Result<void>() : receiver->data(piece);
}

Result<void> Transfer::perform(const std::string& url, Exchange& exchange) {
  const std::string host = origin(url);
  if (host.empty()) return fail(ErrorCode::data_loss, "the hub names an address that is none of the web");
  web::Request request;
  request.method = exchange.head_only ? "HEAD" : "GET";
  request.url = url;
  request.stall_timeout = environment_.stall_timeout;
  // The token is for the hub alone; what it redirects to elsewhere carries its own signature.
  if (!environment_.token.empty() && host == origin(environment_.endpoint))
    request.headers.push_back("Authorization: Bearer " + environment_.token);
  if (exchange.begin > 0) request.headers.push_back(fmt::format("Range: bytes={}-", exchange.begin));
  TRY(exchange.reply, client_.send(request, [&](const web::Reply& reply, std::string_view piece) {
    return exchange.take(reply, piece);
  }));
  return {};
}

Result<void> Transfer::follow(std::string url, Exchange& exchange) {
  for (int hops = 0;; ++hops) {
    TRY_VOID(perform(url, exchange));
    const long status = exchange.reply.status;
    const bool good = status == 200 || (status == 206 && exchange.begin > 0);
    if (good) return exchange.started ? Result<void>() : exchange.take(exchange.reply, {});
    const bool redirect = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (!redirect) return tl::unexpected(status_error(origin(url), status, exchange.reply.headers));
    const std::string next = redirected(url, value_of(exchange.reply.headers, "location"));
    if (!exchange.cross_origins && origin(next) != origin(url)) return {};
    if (hops == kRedirectsMax || next.empty())
      return fail(ErrorCode::data_loss, fmt::format("{} redirects without end", origin(url)));
    if (url.starts_with("https:") && !next.starts_with("https:"))
      return fail(ErrorCode::data_loss, fmt::format("{} redirects out of https", origin(url)));
    url = next;
  }
}

Result<std::string> Transfer::text(const std::string& url, std::size_t bytes_max) {
  std::string text;
  const Receiver receiver{.start = [](const ReplyStart&) { return Result<void>(); },
                          .data = [&](std::string_view data) -> Result<void> {
                            if (data.size() > bytes_max - text.size())
                              return fail(
                                  ErrorCode::data_loss,
                                  fmt::format("{} answers with more than {} bytes", origin(url), bytes_max));
                            text += data;
                            return {};
                          }};
  Exchange exchange;
  exchange.receiver = &receiver;
  TRY_VOID(follow(url, exchange));
  return text;
}

Result<web::Headers> Transfer::describe(const std::string& url) {
  Exchange exchange;
  exchange.head_only = true;
  exchange.cross_origins = false;
  TRY_VOID(follow(url, exchange));
  return exchange.reply.headers;
}

Result<void> Transfer::bytes(const std::string& url, std::uint64_t begin, const Receiver& receiver) {
  Exchange exchange;
  exchange.begin = begin;
  exchange.receiver = &receiver;
  return follow(url, exchange);
}

}  // namespace diffused::hub
