// JPEG by libjpeg-turbo. See codec.h for what encode and decode promise.
#pragma once

#include "image/codec.h"

namespace diffused {

bool is_jpeg(std::string_view bytes);
// Refuses more than 64 scans: a progressive file of thousands costs minutes and shows nothing more.
Result<Image> decode_jpeg(std::string_view bytes, const DecodeLimits& limits);
Result<std::string> encode_jpeg(const Image& image, const EncodeOptions& options);

}  // namespace diffused
