// Bytes as text: base64 and the data URLs that wrap it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace diffused {

// Standard alphabet with padding, one line. Never fails.
std::string to_base64(std::string_view bytes);

// Standard or URL-safe alphabet, padding optional, white space ignored.
// Errors: invalid_argument when anything else stands in the text.
Result<std::string> from_base64(std::string_view text);

// The bytes of "data:image/png;base64,…", or of bare base64. Errors: as from_base64, and when a data URL is
// not base64.
Result<std::string> from_data_url(std::string_view text);

}  // namespace diffused
