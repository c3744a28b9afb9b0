// A stand-in for a store that speaks S3: one bucket in memory on a port of its own, which checks signatures
// from what arrives, and what goes wrong with such stores.
#pragma once

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "storage/s3_address.h"
#include "storage/sha256.h"

namespace diffused::test {

class S3Standin {
 public:
  S3Standin() : acceptor_(io_, {boost::asio::ip::address_v4::loopback(), 0}) {
    boost::asio::co_spawn(io_, accept(), boost::asio::detached);
    thread_ = std::jthread([this] { io_.run(); });
  }
  ~S3Standin() { io_.stop(); }

  std::string endpoint() const {
    return "http://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }
  storage::S3Address address() const {
    const std::map<std::string, std::string> values{{"AWS_ACCESS_KEY_ID", keys_.id},
                                                    {"AWS_SECRET_ACCESS_KEY", keys_.secret},
                                                    {"AWS_SESSION_TOKEN", keys_.token}};
    return *storage::read_s3_address("s3://pictures/of/tests", endpoint(), [&](const char* name) {
      const auto found = values.find(name);
      return found == values.end() ? std::nullopt : std::optional(found->second);
    });
  }

  // Objects by their whole names. Between calls a test may change them.
  std::map<std::string, std::string> objects() const {
    const std::lock_guard lock(mutex_);
    return objects_;
  }
  void put(const std::string& name, const std::string& bytes) {
    const std::lock_guard lock(mutex_);
    objects_[name] = bytes;
  }
  // What the next requests are answered with, one after the other: a status and a word. 0: not at all.
  void fail_next(std::vector<std::pair<int, std::string>> answers) {
    const std::lock_guard lock(mutex_);
    failing_ = std::move(answers);
  }
  // From now on every request, until it is 200.
  void fail_all(int status, std::string word) {
    const std::lock_guard lock(mutex_);
    failing_.clear();
    always_ = {status, std::move(word)};
  }
  int requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  using Socket = boost::asio::ip::tcp::socket;
  using Request = boost::beast::http::request<boost::beast::http::string_body>;
  using Answer = boost::beast::http::response<boost::beast::http::string_body>;
  using Query = std::vector<std::pair<std::string, std::string>>;
  static constexpr std::size_t kPage = 2;  // names in a list, so that every list has pages

  boost::asio::awaitable<void> accept() {
    while (true) {
      Socket socket = co_await acceptor_.async_accept(boost::asio::use_awaitable);
      boost::asio::co_spawn(io_, talk(std::move(socket)), boost::asio::detached);
    }
  }

  // Ends with an exception when the other side closes.
  boost::asio::awaitable<void> talk(Socket socket) {
    namespace http = boost::beast::http;
    boost::beast::flat_buffer buffer;
    while (true) {
      Request request;
      co_await http::async_read(socket, buffer, request, boost::asio::use_awaitable);
      const Answer answer = reply(request);
      if (answer.result_int() == 0) {
        boost::asio::steady_timer never(io_, boost::asio::steady_timer::time_point::max());
        co_await never.async_wait(boost::asio::use_awaitable);
      }
      co_await http::async_write(socket, answer, boost::asio::use_awaitable);
    }
  }

  static Answer error(int status, const std::string& word) {
    Answer answer;
    answer.result(status);
    answer.body() = "<?xml version=\"1.0\"?>\n<Error><Code>" + word + "</Code><Message>no</Message></Error>";
    answer.prepare_payload();
    return answer;
  }

  Answer reply(const Request& request) {
    const std::lock_guard lock(mutex_);
    ++requests_;
    if (!failing_.empty()) {
      const auto [status, word] = failing_.front();
      failing_.erase(failing_.begin());
      return error(status, word);
    }
    if (always_.first != 200) return error(always_.first, always_.second);
    if (!is_signed(request)) return error(403, "SignatureDoesNotMatch");
    const auto [path, query] = parse(request);
    Answer answer;
    if (path == "/pictures") {
      answer.body() = list({query.begin(), query.end()});
    } else if (!path.starts_with("/pictures/")) {
      return error(404, "NoSuchBucket");
    } else {
      const std::string name = path.substr(10);
      const auto found = objects_.find(name);
      if (request.method_string() == "PUT") {
        objects_[name] = request.body();
      } else if (request.method_string() == "DELETE") {
        answer.result(204);
        objects_.erase(name);
      } else if (found == objects_.end()) {
        return error(404, "NoSuchKey");
      } else {
        answer.body() = found->second;
      }
    }
    answer.prepare_payload();
    return answer;
  }

  static std::string decoded(const std::string& text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
      plain += text[i] == '%' ? static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16)) : text[i];
      if (text[i] == '%') i += 2;
    }
    return plain;
  }

  // Path and query, decoded.
  static std::pair<std::string, Query> parse(const Request& request) {
    const std::string target(request.target());
    const std::size_t mark = std::min(target.find('?'), target.size());
    Query query;
    std::istringstream parameters(target.substr(std::min(mark + 1, target.size())));
    for (std::string parameter; std::getline(parameters, parameter, '&');) {
      const std::size_t equals = parameter.find('=');
      query.emplace_back(decoded(parameter.substr(0, equals)), decoded(parameter.substr(equals + 1)));
    }
    return {decoded(target.substr(0, mark)), query};
  }

  // Made again from what arrived.
  bool is_signed(const Request& request) const {
    const auto [path, query] = parse(request);
    storage::S3Request arrived{std::string(request.method_string()), path, query, {}};
    for (const char* const name :
         {"host", "content-type", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"})
      if (const auto found = request.find(name); found != request.end())
        arrived.headers[name] = std::string(found->value());
    return arrived.headers["x-amz-content-sha256"] == storage::sha256_hex(request.body()) &&
           arrived.headers["x-amz-security-token"] == keys_.token &&
           request["authorization"] == storage::sign(arrived, keys_, "us-east-1").authorization;
  }

  std::string list(std::map<std::string, std::string> query) const {
    std::string text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"urn:s3\">",
                last;
    std::size_t count = 0;
    for (const auto& [name, bytes] : objects_) {
      if (!name.starts_with(query["prefix"]) || name <= query["continuation-token"]) continue;
      if (count++ == kPage) {
        text += "<IsTruncated>true</IsTruncated><NextContinuationToken>" + last + "</NextContinuationToken>";
        break;
      }
      last = name;
      text += "<Contents><Key>" + name + "</Key><Size>" + std::to_string(bytes.size()) + "</Size></Contents>";
    }
    return text + "</ListBucketResult>";
  }

  const storage::S3Keys keys_{"OURKEY", "our/secret+key", "a+session/token=="};
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::map<std::string, std::string> objects_;
  std::vector<std::pair<int, std::string>> failing_;
  std::pair<int, std::string> always_{200, {}};
  int requests_ = 0;
  std::jthread thread_;  // the last, so that it ends first
};

}  // namespace diffused::test
