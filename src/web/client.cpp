#include "web/client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <new>
#include <optional>

namespace diffused::web {
namespace {

constexpr std::size_t kHeaderBytesMax = 64 << 10;

struct Free {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  void operator()(char* text) const { curl_free(text); }
};
using Url = std::unique_ptr<CURLU, Free>;

Url parse(const std::string& text) {
  Url url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) return nullptr;
  return url;
}

std::string part(const Url& url, CURLUPart which) {
  char* text = nullptr;
  if (curl_url_get(url.get(), which, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return {};
  return std::unique_ptr<char, Free>(text).get();
}

// What has come back of one request so far.
struct Exchange {
  CURL* curl = nullptr;
  const Sink& sink;
  Reply reply;
  std::size_t header_bytes = 0;
  std::optional<Error> failure;
};

// Header lines, one by one, of every reply.
std::size_t take_header(const char* data, std::size_t size, std::size_t count, void* to) {
  auto& exchange = *static_cast<Exchange*>(to);
  const std::string_view line(data, size * count);
  exchange.header_bytes += line.size();
  if (exchange.header_bytes > kHeaderBytesMax) {
    exchange.failure = Error{ErrorCode::data_loss, "a server answered with a header without end", {}, {}};
    return 0;
  }
  if (line.starts_with("HTTP/")) {
    exchange.reply.headers.clear();
    return line.size();
  }
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return line.size();
  std::string name(line.substr(0, colon)), value(line.substr(colon + 1));
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  value.erase(0, std::min(value.size(), value.find_first_not_of(" \t")));
  value.erase(value.find_last_not_of(" \t\r\n") + 1);
  exchange.reply.headers[name] = value;
  return line.size();
}

std::size_t take_body(const char* data, std::size_t size, std::size_t count, void* to) {
  auto& exchange = *static_cast<Exchange*>(to);
  curl_easy_getinfo(exchange.curl, CURLINFO_RESPONSE_CODE, &exchange.reply.status);
  const Result<void> taken = exchange.sink(exchange.reply, {data, size * count});
  if (taken) return size * count;
  exchange.failure = taken.error();
  return 0;
}

void set_method(CURL* curl, const Request& request) {
  if (request.method == "HEAD") {
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  } else if (request.method == "PUT" || request.method == "POST") {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body.data());
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  } else if (request.method != "GET") {
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

}  // namespace

std::string value_of(const Headers& headers, const std::string& name) {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string() : found->second;
}

std::string origin(const std::string& url) {
  const Url parsed = parse(url);
  if (!parsed) return {};
  const std::string scheme = part(parsed, CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return {};
  return scheme + "://" + part(parsed, CURLUPART_HOST) + ":" + part(parsed, CURLUPART_PORT);
}

std::string redirected(const std::string& from, const std::string& location) {
  const Url parsed = parse(from);
  if (!parsed || location.empty() ||
      curl_url_set(parsed.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK)
    return {};
  return part(parsed, CURLUPART_URL);
}

Client::Client() {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  curl_ = ready == CURLE_OK ? curl_easy_init() : nullptr;
  if (curl_ == nullptr) throw std::bad_alloc();
}

Client::~Client() { curl_easy_cleanup(curl_); }

Result<Reply> Client::send(const Request& request, const Sink& sink) {
  CURL* const curl = curl_;
  Exchange exchange{curl, sink, {}, 0, {}};
  curl_easy_reset(curl);
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "diffused");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.stall_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &take_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &take_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
  set_method(curl, request);
  std::unique_ptr<curl_slist, Free> fields;
  for (const std::string& header : request.headers)
    fields.reset(curl_slist_append(fields.release(), header.c_str()));
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields.get());
  const CURLcode done = curl_easy_perform(curl);
  if (exchange.failure) return tl::unexpected(*std::move(exchange.failure));
  if (done != CURLE_OK)
    return fail(ErrorCode::unavailable, fmt::format("{}: {}", origin(request.url), curl_easy_strerror(done)));
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &exchange.reply.status);
  return std::move(exchange.reply);
}

}  // namespace diffused::web
