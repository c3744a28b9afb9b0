#include "image/gif.h"

#include <gif_lib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "image/channels.h"

namespace diffused {
namespace {

constexpr std::uint64_t kNoIndex = 256;
constexpr int kGifPixelBytes = 7;  // RGBA, and RGB made of it

// What is left to be read; giflib takes it from here.
struct GifSource {
  std::string_view rest;

  static int read(GifFileType* file, GifByteType* to, int count) {
    auto* self = static_cast<GifSource*>(file->UserData);
    const std::size_t size = std::min<std::size_t>(static_cast<std::size_t>(count), self->rest.size());
    std::memcpy(to, self->rest.data(), size);
    self->rest.remove_prefix(size);
    return static_cast<int>(size);
  }
};

tl::unexpected<Error> damaged_gif() { return invalid_image("the GIF is damaged or not whole"); }

struct CloseGif {
  void operator()(GifFileType* file) const { DGifCloseFile(file, nullptr); }
};
using GifFile = std::unique_ptr<GifFileType, CloseGif>;

// Passes over an extension; of one that says so, the colour that is transparent.
bool read_extension(GifFileType* file, std::uint64_t& transparent) {
  int kind = 0;
  GifByteType* block = nullptr;
  if (DGifGetExtension(file, &kind, &block) == GIF_ERROR) return false;
  while (block != nullptr) {
    GraphicsControlBlock control;
    if (kind == GRAPHICS_EXT_FUNC_CODE && DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK)
      transparent = control.TransparentColor == NO_TRANSPARENT_COLOR
                        ? kNoIndex
                        : static_cast<std::uint64_t>(control.TransparentColor);
    if (DGifGetExtensionNext(file, &block) == GIF_ERROR) return false;
  }
  return true;
}

// The rows of the picture in the order in which they stand in the file.
std::vector<int> row_order(int height, bool interlaced) {
  std::vector<int> rows;
  if (!interlaced)
    for (int y = 0; y < height; ++y) rows.push_back(y);
  constexpr std::array<std::pair<int, int>, 4> kPasses{{{0, 8}, {4, 8}, {2, 4}, {1, 2}}};
  if (interlaced)
    for (const auto& [first, step] : kPasses)
      for (int y = first; y < height; y += step) rows.push_back(y);
  return rows;
}

// Puts the frame that comes next into the canvas, which is RGBA.
Result<void> read_frame(GifFileType* file, std::uint64_t transparent, Image& canvas) {
  if (DGifGetImageDesc(file) == GIF_ERROR) return damaged_gif();
  const GifImageDesc& frame = file->Image;
  const ColorMapObject* colours = frame.ColorMap != nullptr ? frame.ColorMap : file->SColorMap;
  if (colours == nullptr || frame.Left < 0 || frame.Top < 0 || frame.Width < 1 || frame.Height < 1 ||
      frame.Left + frame.Width > canvas.width || frame.Top + frame.Height > canvas.height)
    return damaged_gif();
  std::vector<GifPixelType> row(static_cast<std::size_t>(frame.Width));
  for (const int y : row_order(frame.Height, frame.Interlace)) {
    if (DGifGetLine(file, row.data(), frame.Width) == GIF_ERROR) return damaged_gif();
    auto* to = canvas.pixels.data() + canvas.stride() * static_cast<std::size_t>(frame.Top + y) +
               static_cast<std::size_t>(frame.Left) * 4;
    for (const GifPixelType index : row) {
      if (index >= colours->ColorCount) return damaged_gif();
      const GifColorType& colour = colours->Colors[index];
      const std::uint8_t pixel[] = {colour.Red, colour.Green, colour.Blue,
                                    static_cast<std::uint8_t>(index == transparent ? 0 : 255)};
      to = std::copy(std::begin(pixel), std::end(pixel), to);
    }
  }
  return {};
}

}  // namespace

bool is_gif(std::string_view bytes) { return bytes.starts_with("GIF87a") || bytes.starts_with("GIF89a"); }

Result<Image> decode_gif(std::string_view bytes, const DecodeLimits& limits) {
  GifSource source{bytes};
  const GifFile file(DGifOpen(&source, GifSource::read, nullptr));
  if (file == nullptr) return damaged_gif();
  TRY_VOID(check_size(static_cast<std::uint64_t>(file->SWidth), static_cast<std::uint64_t>(file->SHeight),
                      kGifPixelBytes, limits));
  Image canvas{file->SWidth, file->SHeight, 4, {}};
  canvas.pixels.resize(canvas.stride() * static_cast<std::size_t>(canvas.height));
  std::uint64_t transparent = kNoIndex;
  int frames = 0;
  for (GifRecordType record = UNDEFINED_RECORD_TYPE; record != TERMINATE_RECORD_TYPE;) {
    if (DGifGetRecordType(file.get(), &record) == GIF_ERROR) return damaged_gif();
    if (record == EXTENSION_RECORD_TYPE && !read_extension(file.get(), transparent)) return damaged_gif();
    if (record != IMAGE_DESC_RECORD_TYPE) continue;
    if (++frames > 1) return invalid_image("animated GIF is not accepted: send one picture");
    TRY_VOID(read_frame(file.get(), transparent, canvas));
  }
  if (frames == 0) return damaged_gif();
  return has_transparency(canvas) ? std::move(canvas) : to_rgb(std::move(canvas));
}

}  // namespace diffused
