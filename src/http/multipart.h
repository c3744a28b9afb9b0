// multipart/form-data (RFC 7578) as clients send it. Pure; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace diffused::http {

struct MultipartLimits {
  std::size_t parts_max = 256;
  std::size_t part_header_bytes_max = 4 << 10;
};

// One field of a form. Names may repeat; the order is the client's.
struct Part {
  std::string name;
  std::string filename;      // empty when the part is no file; never use it as a path
  std::string content_type;  // as declared, in lower case, without parameters; empty when none
  std::string_view data;     // a piece of the body given to the parser
};

// Whether a Content-Type header says multipart/form-data.
bool is_multipart(std::string_view content_type);

// The parts of a whole body. Accepts a preamble, an epilogue, quoted and bare names, the escapes of browsers
// ("%22") and of RFC 2616 ("\""). The views in the result point into `body`, which must outlive them.
// invalid_argument: no boundary in `content_type`, the final boundary is missing, a part without a name, a
// malformed or encoded part. payload_too_large: too many parts, too long a part header.
Result<std::vector<Part>> parse_multipart(std::string_view content_type, std::string_view body,
                                          const MultipartLimits& limits = {});

}  // namespace diffused::http
