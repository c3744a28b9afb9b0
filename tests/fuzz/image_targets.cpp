// Pictures that clients send.
#include "base/check.h"
#include "base/utf8.h"
#include "fuzz/targets.h"
#include "image/base64.h"
#include "image/bmp.h"
#include "image/codec.h"
#include "image/exif.h"
#include "image/gif.h"
#include "image/jpeg.h"
#include "image/png.h"
#include "image/tiff.h"
#include "image/webp.h"

namespace diffused::fuzz {
namespace {

// Small, so that a run is short; what is refused for its size is refused before any pixel is read.
const DecodeLimits kLimits{.side_max = 1024, .pixels_max = 256 * 1024};

void decode(Result<Image> (*decoder)(std::string_view, const DecodeLimits&), std::string_view bytes) {
  const auto image = decoder(bytes, kLimits);
  if (!image) {
    CHECK(image.error().code == ErrorCode::invalid_argument && !image.error().reason.empty());
    return;
  }
  CHECK(image->width >= 1 && image->height >= 1 && image->width <= kLimits.side_max &&
        image->height <= kLimits.side_max);
  CHECK(image->channels == 1 || image->channels == 3 || image->channels == 4);
  CHECK(image->pixels.size() == image->stride() * static_cast<std::size_t>(image->height));
}

}  // namespace

void png(std::string_view bytes) { decode(decode_png, bytes); }
void jpeg(std::string_view bytes) { decode(decode_jpeg, bytes); }
void webp(std::string_view bytes) { decode(decode_webp, bytes); }
void gif(std::string_view bytes) { decode(decode_gif, bytes); }
void bmp(std::string_view bytes) { decode(decode_bmp, bytes); }
void tiff(std::string_view bytes) { decode(decode_tiff, bytes); }

void exif(std::string_view bytes) {
  const int orientation = exif_orientation(bytes);
  CHECK(orientation >= 1 && orientation <= 8);
  const Image turned = oriented({2, 3, 3, std::vector<std::uint8_t>(18)}, orientation);
  CHECK(turned.width * turned.height == 6 && turned.pixels.size() == 18);
  CHECK(is_utf8(exif_comment(bytes)));
}

void png_text(std::string_view bytes) {
  const auto chunks = read_png_text(bytes);
  if (!chunks) return;
  for (const TextChunk& chunk : *chunks) CHECK(!chunk.key.empty() && chunk.key.size() <= 79);
}

void base64(std::string_view bytes) {
  CHECK(from_base64(to_base64(bytes)) == std::string(bytes));
  static_cast<void>(from_base64(bytes));
  static_cast<void>(from_data_url(bytes));
}

}  // namespace diffused::fuzz
