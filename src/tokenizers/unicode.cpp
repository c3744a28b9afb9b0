#include "tokenizers/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "base/check.h"

namespace diffused::tokenizers {
namespace {

UChar32 as_icu(char32_t code_point) { return static_cast<UChar32>(code_point); }

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

icu::UnicodeSet known_in_unicode_9() {
  UErrorCode status = U_ZERO_ERROR;
  icu::UnicodeSet known(u"[:age=9.0:]", status);
  CHECK_WITH(U_SUCCESS(status), u_errorName(status));
  known.freeze();
  return known;
}

const icu::Normalizer2& nfc() {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = icu::Normalizer2::getNFCInstance(status);
  CHECK_WITH(U_SUCCESS(status), u_errorName(status));
  return *normalizer;
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  for (std::size_t position = 0; position < text.size();) {
    UChar32 code_point = 0;
    U8_NEXT_OR_FFFD(text.data(), position, text.size(), code_point);
    append_code_point(valid, static_cast<char32_t>(code_point));
  }
  return valid;
}

char32_t next_code_point(std::string_view text, std::size_t& position) {
  UChar32 code_point = 0;
  U8_NEXT_UNSAFE(text.data(), position, code_point);
  return static_cast<char32_t>(code_point);
}

char32_t previous_code_point(std::string_view text, std::size_t& position) {
  UChar32 code_point = 0;
  U8_PREV_UNSAFE(text.data(), position, code_point);
  return static_cast<char32_t>(code_point);
}

void append_code_point(std::string& text, char32_t code_point) {
  char bytes[U8_MAX_LENGTH];
  std::size_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, as_icu(code_point));
  text.append(bytes, length);
}

bool is_letter(char32_t code_point) { return (U_GET_GC_MASK(as_icu(code_point)) & U_GC_L_MASK) != 0; }
bool is_number(char32_t code_point) { return (U_GET_GC_MASK(as_icu(code_point)) & U_GC_N_MASK) != 0; }
bool is_space(char32_t code_point) { return u_isUWhiteSpace(as_icu(code_point)); }

bool is_word_part(char32_t code_point) {
  const UChar32 c = as_icu(code_point);
  return u_isUAlphabetic(c) || (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

void append_lower_case(std::string& text, char32_t code_point) {
  // The only code point whose lower case, taken alone, is two: capital i with a dot above.
  if (code_point == 0x130) {
    text += "i\xCC\x87";
  } else {
    append_code_point(text, static_cast<char32_t>(u_tolower(as_icu(code_point))));
  }
}

Composer::Composer() : known_(known_in_unicode_9()), normalizer_(nfc(), known_) {}

std::string Composer::compose(const std::string& text) const {
  if (is_ascii(text)) return text;
  UErrorCode status = U_ZERO_ERROR;
  std::string composed;
  icu::StringByteSink<std::string> sink(&composed);
  normalizer_.normalizeUTF8(0, text, sink, nullptr, status);
  CHECK_WITH(U_SUCCESS(status), u_errorName(status));
  return composed;
}

}  // namespace diffused::tokenizers
