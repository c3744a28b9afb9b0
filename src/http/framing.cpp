#include "http/framing.h"

#include <algorithm>
#include <charconv>

#include "base/ascii.h"

namespace diffused::http {
namespace {

auto bad_request(std::string message) {
  return refuse(400, ErrorCode::invalid_argument, "bad_request", std::move(message));
}

std::size_t count_header(const Headers& headers, std::string_view name) {
  return static_cast<std::size_t>(std::count_if(headers.begin(), headers.end(),
                                                [&](const auto& header) { return header.first == name; }));
}

// Digits only: from_chars alone would still accept a list's first number or "-0".
bool parse_length(std::string_view text, std::uint64_t& length) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  return error == std::errc() && end == text.data() + text.size() && text.front() != '-';
}

// What decides who asks, from where, and what the body is must not stand twice: we would go by the first, and
// whoever stands before us perhaps by the last.
Checked<void> check_singles(const Headers& headers) {
  static constexpr const char* kSingles[] = {"origin",       "sec-fetch-site",  "authorization", "api-key",
                                             "content-type", "idempotency-key", "expect"};
  for (const char* name : kSingles)
    if (count_header(headers, name) > 1)
      return bad_request(std::string("More than one header ") + name + ".");
  return {};
}

Checked<void> check_request_line(const RequestHead& head, const Limits& limits) {
  if (head.version != 10 && head.version != 11)
    return bad_request("Only HTTP/1.0 and HTTP/1.1 are spoken here.");
  if (head.method == "CONNECT") return bad_request("CONNECT is not served.");
  if (head.target.size() > limits.target_bytes_max)
    return refuse(414, ErrorCode::invalid_argument, "target_too_long", "The request target is too long.");
  if (head.target == "*") return bad_request("The asterisk target is not served.");
  if (head.headers.size() > limits.header_fields_max)
    return refuse(431, ErrorCode::invalid_argument, "too_many_headers", "Too many header fields.");
  return {};
}

}  // namespace

std::string_view find_header(const Headers& headers, std::string_view name) {
  const auto found =
      std::find_if(headers.begin(), headers.end(), [&](const auto& header) { return header.first == name; });
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

Checked<Framing> check_framing(const RequestHead& head, const Limits& limits) {
  if (auto line = check_request_line(head, limits); !line) return tl::unexpected(line.error());
  const auto hosts = count_header(head.headers, "host");
  if (hosts > 1 || (hosts == 0 && head.version == 11))
    return bad_request("Exactly one Host header is needed.");
  if (auto singles = check_singles(head.headers); !singles) return tl::unexpected(singles.error());

  Framing framing;
  const auto lengths = count_header(head.headers, "content-length");
  const auto encodings = count_header(head.headers, "transfer-encoding");
  if (encodings > 0) {
    if (lengths > 0) return bad_request("Transfer-Encoding and Content-Length exclude each other.");
    if (head.version == 10) return bad_request("HTTP/1.0 knows no Transfer-Encoding.");
    if (encodings > 1 || !iequals(find_header(head.headers, "transfer-encoding"), "chunked"))
      return bad_request("The only Transfer-Encoding served is chunked.");
    framing.chunked = true;
  }
  if (lengths > 1) return bad_request("More than one Content-Length.");
  if (lengths == 1) {
    const auto length = find_header(head.headers, "content-length");
    if (length.empty() || !parse_length(length, framing.content_length))
      return bad_request("Content-Length must be a decimal number.");
  }

  if (const auto encoding = find_header(head.headers, "content-encoding");
      !encoding.empty() && !iequals(encoding, "identity"))
    return refuse(415, ErrorCode::unsupported, "unsupported_content_encoding",
                  "Compressed request bodies are not accepted.");
  if (const auto expect = find_header(head.headers, "expect"); !expect.empty()) {
    if (!iequals(expect, "100-continue"))
      return refuse(417, ErrorCode::invalid_argument, "expectation_failed",
                    "Only 100-continue can be expected.");
    framing.expects_continue = head.version == 11;
  }
  return framing;
}

}  // namespace diffused::http
