#include "http/exchange.h"

#include "http/framing.h"

namespace diffused::http {

std::string_view Request::header(std::string_view name) const { return find_header(headers, name); }

asio::awaitable<std::shared_ptr<EventStream>> Exchange::stream(
    std::vector<std::pair<std::string, std::string>> headers) {
  Response head;
  head.content_type = "text/event-stream";
  head.headers = std::move(headers);
  return begin(std::move(head));
}

}  // namespace diffused::http
