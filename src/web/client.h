// START HERE for the room `web`: requests to other people's servers, by libcurl. It knows nothing of what is
// asked for.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace diffused::web {

// Header fields by their names in small letters.
using Headers = std::map<std::string, std::string>;
// A header's value; empty when there is none.
std::string value_of(const Headers& headers, const std::string& name);

struct Request {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::string_view body;             // sent with PUT and POST; must live until send() returns
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(20);
  std::chrono::seconds stall_timeout = std::chrono::seconds(30);          // without a byte
  std::chrono::milliseconds timeout = std::chrono::milliseconds::zero();  // of it all; 0: none
};

struct Reply {
  long status = 0;
  Headers headers;
};

// Takes the next piece of the body of `reply`. An error ends the exchange and is what send() returns.
using Sink = std::function<Result<void>(const Reply& reply, std::string_view piece)>;

// One connection at a time, kept for the next request. One thread at a time.
class Client {
 public:
  Client();
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Whatever the status; redirects are not followed. Errors: unavailable (no connection, a transfer cut
  // short, stalled or too slow: worth another try; the message names the server), data_loss (a header without
  // end), what `sink` returned.
  Result<Reply> send(const Request& request, const Sink& sink);

 private:
  void* curl_;
};

// "https://host:443", the port always named; empty when `url` is no address of the web.
std::string origin(const std::string& url);
// Where a redirect of `from` to `location` leads; empty when nowhere.
std::string redirected(const std::string& from, const std::string& location);

}  // namespace diffused::web
