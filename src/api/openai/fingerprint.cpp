#include "api/openai/fingerprint.h"

#include <fmt/format.h>

#include "http/multipart.h"
#include "storage/sha256.h"

namespace diffused::api {
namespace {

// The length goes first, so that no two lists of pieces read the same.
void add(std::string& text, std::string_view piece) { text += fmt::format("{}:{}", piece.size(), piece); }

}  // namespace

std::string fingerprint_of(const http::Request& request) {
  if (request.header("idempotency-key").empty()) return {};
  const std::string_view type = request.header("content-type");
  if (!http::is_multipart(type)) return storage::sha256_hex(request.path + '\n' + request.body);
  const auto parts = http::parse_multipart(type, request.body);
  if (!parts) return {};  // nothing comes of such a request
  std::string text;
  add(text, request.path);
  for (const http::Part& part : *parts)
    for (const std::string_view piece :
         {std::string_view(part.name), std::string_view(part.filename), std::string_view(part.content_type)})
      add(text, piece);
  for (const http::Part& part : *parts) add(text, storage::sha256_hex(part.data));
  return storage::sha256_hex(text);
}

}  // namespace diffused::api
