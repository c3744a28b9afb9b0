// A1111's styles: pieces of prompts under a name, kept in its styles.csv.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace diffused::api {

struct SdStyle {
  std::string name;
  std::string prompt;  // with {prompt} in it: what a request's is put into; else it is added behind that
  std::string negative_prompt;
};

// The styles of a file as A1111 writes it: comma-separated values under a head that names the columns, of
// which name, prompt and negative_prompt count. Errors: invalid_argument with the line's number.
Result<std::vector<SdStyle>> parse_styles(std::string_view csv);

// A prompt in a style's.
std::string styled(std::string_view style, std::string_view prompt);

}  // namespace diffused::api
