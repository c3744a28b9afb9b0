#include "storage/s3_bucket.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/log.h"
#include "storage/sha256.h"

namespace diffused::storage {
namespace {

constexpr std::size_t kListBytesMax = 8 << 20;  // of a page of at most 1,000 names
constexpr std::size_t kErrorBytesMax = 64 << 10;
constexpr std::size_t kObjectsMax = 1'000'000;

Error failed(std::string message, std::string reason = "storage_failed") {
  Error error{ErrorCode::unavailable, std::move(message), {}, std::move(reason)};
  error.retry_after = std::chrono::seconds(5);
  return error;
}

bool may_pass(long status) {
  return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
}

// The words for a full store differ: 507, "XMinioStorageFull", Ceph's "QuotaExceeded".
bool says_full(long status, const std::string& word) {
  return status == 507 || word.find("StorageFull") != word.npos || word.find("QuotaExceeded") != word.npos;
}

}  // namespace

struct S3Bucket::Call {
  std::string method;
  std::string name;  // empty: the bucket itself
  std::vector<std::pair<std::string, std::string>> query = {};
  std::uint64_t bytes_max = 0;  // of the answer, when it is a good one
  std::string_view body = {};
  std::string sha256 = {};  // of the body
  std::string content_type = {};
};

struct S3Bucket::Answer {
  long status = 0;
  std::string body;
};

Result<S3Bucket::Answer> S3Bucket::attempt(web::Client& client, const Call& call) {
  const S3Keys keys = keys_.get();
  S3Request signing{call.method, address_.path(call.name), call.query, {}};
  signing.headers = {{"host", address_.host},
                     {"x-amz-content-sha256", call.sha256.empty() ? sha256_hex({}) : call.sha256},
                     {"x-amz-date", amazon_time(clock_.unix_seconds())}};
  if (!call.content_type.empty()) signing.headers["content-type"] = call.content_type;
  if (!keys.token.empty()) signing.headers["x-amz-security-token"] = keys.token;

  web::Request request;
  request.method = call.method;
  request.url = address_.endpoint + percent_encoded(signing.path, true);
  if (!call.query.empty()) request.url += "?" + query_string(call.query);
  for (const auto& [name, value] : signing.headers) request.headers.push_back(name + ": " + value);
  request.headers.push_back("authorization: " + sign(signing, keys, address_.region).authorization);
  request.headers.emplace_back("expect:");  // no waiting for a word before the body
  request.body = call.body;
  request.connect_timeout = patience_.connect;
  request.stall_timeout = patience_.stall;
  request.timeout = patience_.transfer;

  Answer answer;
  auto reply = client.send(request, [&](const web::Reply& so_far, std::string_view piece) -> Result<void> {
    const bool good = so_far.status == 200;
    const std::uint64_t bytes_max = good ? call.bytes_max : kErrorBytesMax;
    if (piece.size() <= bytes_max - answer.body.size()) {
      answer.body += piece;
    } else if (good && call.method == "GET") {
      return fail(ErrorCode::data_loss, fmt::format("{}: more was sent than {} bytes", call.name, bytes_max));
    }
    return {};
  });
  if (!reply) return tl::unexpected(std::move(reply).error());
  answer.status = reply->status;
  return answer;
}

Result<S3Bucket::Answer> S3Bucket::persist(const Call& call) {
  std::unique_ptr<web::Client> client;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      client = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!client) client = std::make_unique<web::Client>();
  const SteadyTime last = clock_.now() + patience_.attempts_within;
  auto answer = attempt(*client, call);
  for (int attempts = 1; attempts < patience_.attempts && clock_.now() < last; ++attempts) {
    const bool again = answer ? may_pass(answer->status) : answer.error().code == ErrorCode::unavailable;
    if (!again) break;
    std::this_thread::sleep_for(patience_.pause * (1 << (attempts - 1)));
    answer = attempt(*client, call);
  }
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(client));
  return answer;
}

// The body of a good answer, or what is wrong.
Result<std::string> S3Bucket::judge(const Call& call, Answer answer) const {
  if (answer.status == 200 || answer.status == 204) return std::move(answer.body);
  const std::string word = error_word(answer.body);
  if (answer.status == 404 && word != "NoSuchBucket" && !call.name.empty() && call.method != "PUT")
    return fail(ErrorCode::not_found, "there is no such object");
  const std::string text =
      fmt::format("{} answered {} of bucket {} with status {}{}{}", address_.endpoint, call.method,
                  address_.bucket, answer.status, word.empty() ? "" : ", ", word);
  return tl::unexpected(says_full(answer.status, word) ? failed(text, "storage_full") : failed(text));
}

Result<std::string> S3Bucket::perform(const Call& call) {
  TRY_VOID(outage_.begin());
  auto answer = persist(call);
  Result<std::string> body =
      answer ? judge(call, *std::move(answer)) : tl::unexpected(std::move(answer).error());
  if (body || body.error().code != ErrorCode::unavailable) {
    outage_.end(std::nullopt);
    return body;
  }
  if (body.error().reason.empty()) body = tl::unexpected(failed(body.error().message));
  outage_.end(body.error());
  log(LogLevel::error, "storage_failed", {{"doing", call.method}, {"error", body.error().message}});
  return body;
}

Result<void> S3Bucket::put(const std::string& name, const std::string& bytes, const std::string& sha256,
                           const std::string& content_type) {
  TRY(const std::string ignored,
      perform(
          {.method = "PUT", .name = name, .body = bytes, .sha256 = sha256, .content_type = content_type}));
  return {};
}

Result<std::string> S3Bucket::get(const std::string& name, std::uint64_t bytes_max) {
  return perform({.method = "GET", .name = name, .bytes_max = bytes_max});
}

Result<void> S3Bucket::remove(const std::string& name) {
  const auto removed = perform({.method = "DELETE", .name = name});
  if (!removed && removed.error().code != ErrorCode::not_found) return tl::unexpected(removed.error());
  return {};
}

Result<std::vector<S3Object>> S3Bucket::list(const std::string& beginning) {
  std::vector<S3Object> objects;
  const std::string prefix = address_.prefix + beginning;
  Call call{.method = "GET", .name = {}, .bytes_max = kListBytesMax};
  std::string token;
  do {
    call.query = {{"list-type", "2"}, {"prefix", prefix}};
    if (!token.empty()) call.query.emplace_back("continuation-token", token);
    TRY(const std::string text, perform(call));
    auto page = read_listing(text);
    if (!page || objects.size() + page->objects.size() > kObjectsMax)
      return tl::unexpected(failed(fmt::format("{} answered with no list of objects", address_.endpoint)));
    for (S3Object& object : page->objects) {
      if (!object.name.starts_with(prefix)) continue;
      object.name.erase(0, address_.prefix.size());
      objects.push_back(std::move(object));
    }
    token = page->next;
  } while (!token.empty());
  return objects;
}

}  // namespace diffused::storage
