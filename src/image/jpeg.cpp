#include "image/jpeg.h"

// jpeglib.h needs FILE and size_t declared before it.
#include <cstddef>
#include <cstdio>

#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstdlib>

#include "image/channels.h"
#include "image/exif.h"

namespace diffused {
namespace {

constexpr int kScansMax = 64;
// From here on colour is kept at full resolution: whoever asks for this quality looks at edges.
constexpr int kFullColourQuality = 90;

// libjpeg's error handler with a place to return to. libjpeg reports errors by calling a function that must
// not come back, hence longjmp, which skips destructors: what runs under `survives` must own nothing that has
// one.
struct Handler {
  jpeg_error_mgr manager;
  std::jmp_buf back;

  Handler() {
    jpeg_std_error(&manager);
    manager.error_exit = [](j_common_ptr codec) { leave(codec); };
    manager.emit_message = [](j_common_ptr codec, int level) {
      // The decoder would pad a truncated file with grey; all other warnings are common in honest files.
      if (level < 0 && codec->err->msg_code == JWRN_JPEG_EOF) leave(codec);
    };
    manager.output_message = [](j_common_ptr) {};
  }
  // `manager` comes first, so that its address is ours.
  [[noreturn]] static void leave(j_common_ptr codec) {
    std::longjmp(reinterpret_cast<Handler*>(codec->err)->back, 1);
  }
};

template <typename Work>
bool survives(Handler& handler, const Work& work) {
  if (setjmp(handler.back) != 0) return false;
  work();
  return true;
}

struct Decoder {
  Handler handler;
  jpeg_progress_mgr progress{};
  jpeg_decompress_struct info{};

  Decoder() {
    info.err = &handler.manager;
    jpeg_create_decompress(&info);
    progress.progress_monitor = [](j_common_ptr codec) {
      if (reinterpret_cast<j_decompress_ptr>(codec)->input_scan_number > kScansMax) Handler::leave(codec);
    };
    info.progress = &progress;
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { jpeg_destroy_decompress(&info); }
};

struct Encoder {
  Handler handler;
  jpeg_compress_struct info{};
  unsigned char* bytes = nullptr;  // malloc'ed by libjpeg
  unsigned long size = 0;

  Encoder() {
    info.err = &handler.manager;
    jpeg_create_compress(&info);
  }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
  ~Encoder() {
    jpeg_destroy_compress(&info);
    std::free(bytes);
  }
};

constexpr std::string_view kExif("Exif\0\0", 6);
constexpr std::size_t kMarkerBytesMax = 65533;

// The TIFF block of the EXIF marker, or nothing.
std::string_view exif_of(const jpeg_decompress_struct& info) {
  for (auto* marker = info.marker_list; marker != nullptr; marker = marker->next) {
    const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
    if (data.starts_with(kExif)) return data.substr(kExif.size());
  }
  return {};
}

// Reads up to the first scan, with the markers that EXIF may be in.
bool read_header(Decoder& decoder, std::string_view bytes) {
  return survives(decoder.handler, [&] {
    jpeg_mem_src(&decoder.info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    jpeg_save_markers(&decoder.info, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(&decoder.info, TRUE);
  });
}

// What remains of a colour of 0 to 255 under `ink` of 0 to 255, rounded: white * ink / 255.
std::uint8_t under(int white, int ink) { return static_cast<std::uint8_t>((white * ink + 127) / 255); }

// Ink to light. Adobe's programs, alone in this, store the inverse and say so in a marker.
Image from_cmyk(const Image& cmyk, bool inverted) {
  Image rgb{cmyk.width, cmyk.height, 3, {}};
  rgb.pixels.resize(rgb.stride() * rgb.height);
  const std::uint8_t flip = inverted ? 0 : 255;
  const auto* from = cmyk.pixels.data();
  for (auto* to = rgb.pixels.data(); to != rgb.pixels.data() + rgb.pixels.size(); to += 3, from += 4)
    for (int c = 0; c < 3; ++c) to[c] = under(from[c] ^ flip, from[3] ^ flip);
  return rgb;
}

}  // namespace

bool is_jpeg(std::string_view bytes) { return bytes.substr(0, 3) == "\xFF\xD8\xFF"; }

Result<Image> decode_jpeg(std::string_view bytes, const DecodeLimits& limits) {
  Decoder decoder;
  auto& info = decoder.info;
  if (!read_header(decoder, bytes)) return invalid_image("the JPEG is damaged or not whole");
  // A progressive one is kept whole, two bytes for each number, until its last scan.
  const int bytes_per_pixel = info.num_components * (info.progressive_mode ? 3 : 1);
  TRY_VOID(check_size(info.image_width, info.image_height, bytes_per_pixel, limits));
  const int orientation = exif_orientation(exif_of(info));  // finishing frees the markers
  const bool cmyk = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  info.out_color_space = cmyk ? JCS_CMYK : info.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;

  Image image{static_cast<int>(info.image_width),
              static_cast<int>(info.image_height),
              cmyk                       ? 4
              : info.num_components == 1 ? 1
                                         : 3,
              {}};
  image.pixels.resize(image.stride() * image.height);
  const bool whole = survives(decoder.handler, [&] {
    jpeg_start_decompress(&info);
    while (info.output_scanline < info.output_height) {
      unsigned char* row = image.pixels.data() + info.output_scanline * image.stride();
      jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
  });
  if (!whole) return invalid_image("the JPEG is damaged, not whole, or has too many scans");
  return oriented(cmyk ? from_cmyk(image, info.saw_Adobe_marker) : std::move(image), orientation);
}

Result<std::string> encode_jpeg(const Image& image, const EncodeOptions& options) {
  if (image.channels == 4) return encode_jpeg(to_rgb(image), options);
  const std::string_view parameters = find_text(options, kParametersKey);
  const std::string exif =
      parameters.empty() ? std::string() : std::string(kExif) + exif_with_comment(parameters);
  Encoder encoder;
  auto& info = encoder.info;
  const bool written = survives(encoder.handler, [&] {
    jpeg_mem_dest(&info, &encoder.bytes, &encoder.size);
    info.image_width = image.width;
    info.image_height = image.height;
    info.input_components = image.channels;
    info.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, options.quality, TRUE);
    info.optimize_coding = TRUE;
    if (options.quality >= kFullColourQuality)
      info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(&info, TRUE);
    if (!exif.empty() && exif.size() <= kMarkerBytesMax)
      jpeg_write_marker(&info, JPEG_APP0 + 1, reinterpret_cast<const unsigned char*>(exif.data()),
                        static_cast<unsigned>(exif.size()));
    while (info.next_scanline < info.image_height) {
      auto* row = const_cast<unsigned char*>(image.pixels.data() + info.next_scanline * image.stride());
      jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
  });
  if (!written) return fail(ErrorCode::unsupported, "the picture does not fit a JPEG");
  return std::string(reinterpret_cast<const char*>(encoder.bytes), encoder.size);
}

Result<std::vector<TextChunk>> read_jpeg_text(std::string_view bytes) {
  Decoder decoder;
  if (!read_header(decoder, bytes)) return invalid_image("the JPEG is damaged or not whole");
  std::string comment = exif_comment(exif_of(decoder.info));
  if (comment.empty()) return std::vector<TextChunk>();
  return std::vector<TextChunk>{{std::string(kCommentKey), std::move(comment)}};
}

}  // namespace diffused
