// A finished picture as a file's bytes, with what it was made from written into it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "image/codec.h"
#include "parameters/picture_text.h"

namespace diffused {

struct Picture {
  std::uint64_t seed = 0;
  int width = 0;  // pixels
  int height = 0;
  std::shared_ptr<const std::string> bytes;  // the file
};

enum class PictureTexts { written, left_out };

// Encodes the picture, with its texts (picture_text.h) or without. Takes tens of milliseconds: not on an io
// thread. Errors: as Codec::encode.
Result<Picture> encode_picture(const Codec& codec, int quality, const Recipe& recipe, std::uint64_t seed,
                               const Image& image, PictureTexts texts = PictureTexts::written);

// Bytes of a picture's pixels; 0 for none.
std::uint64_t bytes_of(const Image& image);
std::uint64_t bytes_of(const std::shared_ptr<const Image>& image);

// An estimate of what a job's finished pictures take at most, from their pixels to their files; `as_text`: to
// an answer that holds them.
std::uint64_t result_bytes(const GenerateRequest& request, const PipelineInfo& model, bool as_text);

}  // namespace diffused
