#include "image/base64.h"

#include <openssl/evp.h>

#include <algorithm>

#include "base/check.h"

namespace diffused {
namespace {

// OpenSSL counts in int: whole groups of three bytes at a time keep it there at any length.
constexpr std::size_t kGroupBytes = 3 << 20;

const unsigned char* characters_of(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

tl::unexpected<Error> not_base64() {
  return fail(ErrorCode::invalid_argument, "the text is not base64", {}, "invalid_base64");
}

// Only letters of the standard alphabet, padded to whole groups of four; nothing when other letters occur.
Result<std::string> canonical(std::string_view text) {
  std::string letters;
  letters.reserve(text.size() + 3);
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
    const bool alphanumeric = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (c == '-') {
      letters += '+';
    } else if (c == '_') {
      letters += '/';
    } else if (alphanumeric || c == '+' || c == '/' || c == '=') {
      letters += c;
    } else {
      return not_base64();
    }
  }
  const std::size_t end = letters.find('=');
  if (end != std::string::npos) {
    if (letters.find_first_not_of('=', end) != std::string::npos || letters.size() - end > 2)
      return not_base64();
    letters.resize(end);
  }
  if (letters.size() % 4 == 1) return not_base64();
  letters.append((4 - letters.size() % 4) % 4, '=');
  return letters;
}

}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string text;
  text.resize((bytes.size() + 2) / 3 * 4 + 1);  // OpenSSL ends what it writes with a zero
  std::size_t size = 0;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), kGroupBytes))) {
    const auto part = bytes.substr(0, kGroupBytes);
    size += EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()) + size, characters_of(part),
                            static_cast<int>(part.size()));
  }
  text.resize(size);
  return text;
}

Result<std::string> from_base64(std::string_view text) {
  TRY(const std::string letters, canonical(text));
  std::string bytes;
  bytes.resize(letters.size() / 4 * 3);
  std::size_t size = 0;
  for (std::string_view rest = letters; !rest.empty();) {
    const auto part = rest.substr(0, kGroupBytes / 3 * 4);
    const int written = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()) + size,
                                        characters_of(part), static_cast<int>(part.size()));
    CHECK(written >= 0);
    size += written;
    rest.remove_prefix(part.size());
  }
  // The padding was decoded as zero bytes.
  bytes.resize(size - std::count(letters.begin(), letters.end(), '='));
  return bytes;
}

Result<std::string> from_data_url(std::string_view text) {
  if (text.substr(0, 5) != "data:") return from_base64(text);
  const std::size_t comma = text.find(',');
  static constexpr std::string_view kMarker = ";base64";
  const std::string_view head = text.substr(0, comma);
  if (comma == std::string_view::npos || head.size() < kMarker.size() ||
      head.substr(head.size() - kMarker.size()) != kMarker) {
    return fail(ErrorCode::invalid_argument, "the data URL holds no base64", {}, "invalid_base64");
  }
  return from_base64(text.substr(comma + 1));
}

}  // namespace diffused
