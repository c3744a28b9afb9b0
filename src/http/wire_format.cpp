#include "http/wire_format.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/http/rfc7230.hpp>
#include <boost/beast/http/status.hpp>

#include "base/ascii.h"

namespace diffused::http {
namespace {

bool is_name_byte(unsigned char c) {
  return std::isalnum(c) ||
         std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
}

bool is_value_byte(unsigned char c) { return c == '\t' || (c >= 0x20 && c != 0x7f); }

// What format_head writes by itself, and nobody else may: it frames the message, or would stand there twice.
bool is_ours(std::string_view name) {
  static constexpr std::string_view kOurs[] = {
      "content-length", "transfer-encoding",     "connection", "content-type", "date", "server",
      "x-request-id",   "x-content-type-options"};
  return std::any_of(std::begin(kOurs), std::end(kOurs),
                     [&](std::string_view ours) { return iequals(name, ours); });
}

// "prefix: line" for every line of text, whatever ends its lines.
std::string prefix_lines(std::string_view prefix, std::string_view text) {
  std::string lines;
  lines.reserve(text.size() + prefix.size() + 4);
  while (true) {
    const auto end = text.find_first_of("\r\n");
    lines.append(prefix).append(text.substr(0, end)).append("\n");
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + (text.substr(end).starts_with("\r\n") ? 2 : 1));
  }
}

}  // namespace

std::string format_head(const ResponseHead& head, const Headers& extra) {
  namespace wire = boost::beast::http;
  const std::string_view reason =
      wire::obsolete_reason(wire::int_to_status(static_cast<unsigned>(head.status)));
  std::string text = fmt::format("HTTP/1.1 {} {}\r\ndate: {:%a, %d %b %Y %T} GMT\r\nserver: diffused\r\n",
                                 head.status, reason, fmt::gmtime(head.unix_seconds));
  const auto add = [&text](std::string_view name, std::string_view value) {
    text.append(name).append(": ").append(value).append("\r\n");
  };
  if (!head.request_id.empty()) add("x-request-id", head.request_id);
  add("x-content-type-options", "nosniff");
  if (!head.content_type.empty()) add("content-type", head.content_type);
  if (head.content_length) add("content-length", std::to_string(*head.content_length));
  if (head.chunked) add("transfer-encoding", "chunked");
  add("connection", head.keep_alive ? "keep-alive" : "close");
  for (const auto& [name, value] : extra)
    if (!is_ours(name)) add(name, value);
  return text.append("\r\n");
}

bool headers_valid(const Headers& headers) {
  return std::all_of(headers.begin(), headers.end(), [](const auto& header) {
    return !header.first.empty() && std::all_of(header.first.begin(), header.first.end(), is_name_byte) &&
           std::all_of(header.second.begin(), header.second.end(), is_value_byte);
  });
}

std::string format_event(std::string_view name, std::string_view data, std::string_view id) {
  std::string event;
  for (const auto& [field, value] : {std::pair("id: ", id), std::pair("event: ", name)}) {
    if (value.empty()) continue;
    event.append(field);
    std::copy_if(value.begin(), value.end(), std::back_inserter(event),
                 [](char c) { return c != '\r' && c != '\n'; });
    event += '\n';
  }
  return event.append(prefix_lines("data: ", data)).append("\n");
}

std::string format_comment(std::string_view text) { return prefix_lines(": ", text).append("\n"); }

std::string format_chunk_size(std::size_t bytes) { return fmt::format("{:x}\r\n", bytes); }

bool request_id_valid(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-';
  });
}

}  // namespace diffused::http
