// The few Unicode questions the tokenizers ask, answered by ICU. Any thread.
#pragma once

#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <string>
#include <string_view>

namespace diffused::tokenizers {

// `text` with every ill-formed byte sequence replaced by U+FFFD. The rest of the room relies on valid UTF-8.
std::string valid_utf8(std::string_view text);

// The code point that starts at `position`, which moves behind it. Needs valid UTF-8 and position <
// text.size().
char32_t next_code_point(std::string_view text, std::size_t& position);
// The code point that ends at `position`, which moves to its start. Needs valid UTF-8 and position > 0.
char32_t previous_code_point(std::string_view text, std::size_t& position);
void append_code_point(std::string& text, char32_t code_point);

bool is_letter(char32_t code_point);     // general category L
bool is_number(char32_t code_point);     // general category N
bool is_space(char32_t code_point);      // White_Space
bool is_word_part(char32_t code_point);  // \w of a Unicode regular expression

// Appends the lower case of one code point, without looking at its neighbours (no final sigma).
void append_lower_case(std::string& text, char32_t code_point);

// Canonical composition (NFC) by the tables of Unicode 9, which the `tokenizers` library has: code points of
// a later version stay as they are, and nothing is composed or reordered across them. Const methods from any
// thread.
class Composer {
 public:
  Composer();
  std::string compose(const std::string& text) const;  // needs valid UTF-8

 private:
  icu::UnicodeSet known_;
  icu::FilteredNormalizer2 normalizer_;
};

}  // namespace diffused::tokenizers
