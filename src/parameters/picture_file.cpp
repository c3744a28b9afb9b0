#include "parameters/picture_file.h"

namespace diffused {
namespace {

// Of one pixel: as it is made, as a file (photographs take two bytes of the three), and as text twice, by
// itself and within the answer.
constexpr std::uint64_t kPixelBytes = 3, kFileBytes = 2, kTextBytes = 6;

}  // namespace

Result<Picture> encode_picture(const Codec& codec, int quality, const Recipe& recipe, std::uint64_t seed,
                               const Image& image, PictureTexts texts) {
  EncodeOptions options{quality};
  if (texts == PictureTexts::written) options.text = picture_texts(recipe, seed, image);
  TRY(std::string bytes, codec.encode(image, options));
  return Picture{seed, image.width, image.height, std::make_shared<const std::string>(std::move(bytes))};
}

std::uint64_t bytes_of(const Image& image) { return image.pixels.size(); }

std::uint64_t bytes_of(const std::shared_ptr<const Image>& image) { return image ? bytes_of(*image) : 0; }

std::uint64_t result_bytes(const GenerateRequest& request, const PipelineInfo& model, bool as_text) {
  return static_cast<std::uint64_t>(request.width.value_or(model.default_width)) *
         static_cast<std::uint64_t>(request.height.value_or(model.default_height)) * request.n() *
         (kPixelBytes + kFileBytes + (as_text ? kTextBytes : 0));
}

}  // namespace diffused
