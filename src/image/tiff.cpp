#include "image/tiff.h"

#include <tiffio.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "image/channels.h"
#include "image/exif.h"

namespace diffused {
namespace {

// libtiff's own memory: what a header may take, and what is added to it for each pixel, a strip of four
// samples of sixteen bits. A file that wants more, with strips or tiles beyond its picture, is not read.
constexpr tmsize_t kHeaderBytesMax = tmsize_t{1} << 20;
constexpr int kStripPixelBytes = 8;
// Of a pixel while it is decoded: in a strip, and in two pictures, of which one is made of the other.
constexpr int kTiffPixelBytes = kStripPixelBytes + 8;

tl::unexpected<Error> damaged_tiff() {
  return invalid_image("the TIFF is damaged, not whole or of a rare kind");
}

// The bytes as libtiff reads files.
struct TiffSource {
  std::string_view bytes;
  toff_t at = 0;

  static tmsize_t read(thandle_t handle, void* to, tmsize_t count) {
    auto* self = static_cast<TiffSource*>(handle);
    if (count < 0 || self->at >= self->bytes.size()) return 0;
    const auto size = std::min<std::size_t>(static_cast<std::size_t>(count), self->bytes.size() - self->at);
    std::memcpy(to, self->bytes.data() + self->at, size);
    self->at += size;
    return static_cast<tmsize_t>(size);
  }
  static tmsize_t write(thandle_t, void*, tmsize_t) { return 0; }
  static toff_t seek(thandle_t handle, toff_t offset, int from) {
    auto* self = static_cast<TiffSource*>(handle);
    const toff_t base = from == SEEK_CUR ? self->at : from == SEEK_END ? self->bytes.size() : 0;
    return self->at = base + offset;
  }
  static int close(thandle_t) { return 0; }
  static toff_t size(thandle_t handle) { return static_cast<TiffSource*>(handle)->bytes.size(); }
};

struct CloseTiff {
  void operator()(TIFF* file) const { TIFFClose(file); }
};
using TiffFile = std::unique_ptr<TIFF, CloseTiff>;

// libtiff's own words reach nobody.
int keep_quiet(TIFF*, void*, const char*, const char*, va_list) { return 1; }

TiffFile open_tiff(TiffSource& source, tmsize_t allocation_max) {
  source.at = 0;
  const std::unique_ptr<TIFFOpenOptions, void (*)(TIFFOpenOptions*)> options(TIFFOpenOptionsAlloc(),
                                                                             TIFFOpenOptionsFree);
  TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), allocation_max);
  TIFFOpenOptionsSetErrorHandlerExtR(options.get(), keep_quiet, nullptr);
  TIFFOpenOptionsSetWarningHandlerExtR(options.get(), keep_quiet, nullptr);
  // "m": no mapping, the bytes are in memory already.
  return TiffFile(TIFFClientOpenExt("", "rm", &source, TiffSource::read, TiffSource::write, TiffSource::seek,
                                    TiffSource::close, TiffSource::size, nullptr, nullptr, options.get()));
}

// libtiff gives colours multiplied by their alpha.
std::uint8_t divided(unsigned colour, unsigned alpha) {
  if (alpha == 0) return 0;
  return static_cast<std::uint8_t>(std::min(255U, (colour * 255 + alpha / 2) / alpha));
}

}  // namespace

bool is_tiff(std::string_view bytes) {
  using namespace std::string_view_literals;
  const std::string_view head = bytes.substr(0, 4);
  return head == "II*\0"sv || head == "MM\0*"sv || head == "II+\0"sv || head == "MM\0+"sv;
}

Result<Image> decode_tiff(std::string_view bytes, const DecodeLimits& limits) {
  TiffSource source{bytes};
  TiffFile file = open_tiff(source, kHeaderBytesMax);
  std::uint32_t width = 0, height = 0;
  if (file == nullptr || TIFFGetField(file.get(), TIFFTAG_IMAGEWIDTH, &width) != 1 ||
      TIFFGetField(file.get(), TIFFTAG_IMAGELENGTH, &height) != 1)
    return damaged_tiff();
  TRY_VOID(check_size(width, height, kTiffPixelBytes, limits));
  file = open_tiff(source, kHeaderBytesMax + static_cast<tmsize_t>(width) * height * kStripPixelBytes);
  if (file == nullptr) return damaged_tiff();
  std::uint16_t orientation = ORIENTATION_TOPLEFT;
  TIFFGetFieldDefaulted(file.get(), TIFFTAG_ORIENTATION, &orientation);
  std::vector<std::uint32_t> raster(static_cast<std::size_t>(width) * height);
  // Asked for as it lies in the file: turning it is ours, as libtiff mirrors but does not turn.
  if (TIFFReadRGBAImageOriented(file.get(), width, height, raster.data(), orientation, 1) != 1)
    return damaged_tiff();
  Image image{static_cast<int>(width), static_cast<int>(height), 4, {}};
  image.pixels.reserve(raster.size() * 4);
  for (const std::uint32_t pixel : raster) {
    const unsigned alpha = TIFFGetA(pixel);
    for (const unsigned colour : {TIFFGetR(pixel), TIFFGetG(pixel), TIFFGetB(pixel)})
      image.pixels.push_back(divided(colour, alpha));
    image.pixels.push_back(static_cast<std::uint8_t>(alpha));
  }
  if (!has_transparency(image)) image = to_rgb(std::move(image));
  return oriented(std::move(image), orientation >= 1 && orientation <= 8 ? orientation : 1);
}

}  // namespace diffused
