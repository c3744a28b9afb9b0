// Bytes of responses: the header block, chunks and server-sent events. Pure; any thread.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "http/framing.h"

namespace diffused::http {

// A status line with its headers, as they go out.
struct ResponseHead {
  int status = 200;
  std::string_view content_type;                // empty: none is sent
  std::optional<std::uint64_t> content_length;  // none: chunked, or up to the end of the connection
  bool chunked = false;
  bool keep_alive = true;
  std::string_view request_id;
  std::time_t unix_seconds = 0;  // for Date
};

// Status line, our headers, `extra`, and the empty line. What is written by itself (what frames a message,
// and date, server, x-request-id, x-content-type-options) is set here alone: such names in `extra` are left
// out. Precondition: headers_valid(extra).
std::string format_head(const ResponseHead& head, const Headers& extra);

// Whether names are tokens and values free of control bytes (CR, LF, NUL …), so that a value from a client
// cannot begin a header or a response of its own.
bool headers_valid(const Headers& headers);

// "id: id", "event: name", "data: …" for each line of data, an empty line. Empty id or name: no such line.
// Line breaks in them are dropped.
std::string format_event(std::string_view name, std::string_view data, std::string_view id = {});

// ": text" for each line, and an empty line.
std::string format_comment(std::string_view text);

// "1f\r\n": goes before a chunk of that many bytes, which "\r\n" follows.
std::string format_chunk_size(std::size_t bytes);

// A client's X-Request-Id that may be echoed and logged: 1 to 128 letters, digits, '.', '_', '-'.
bool request_id_valid(std::string_view id);

}  // namespace diffused::http
