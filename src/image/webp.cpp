#include "image/webp.h"

#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>
#include <webp/mux.h>

#include <memory>
#include <new>

#include "base/check.h"
#include "image/channels.h"
#include "image/exif.h"

namespace diffused {
namespace {

// Three of libwebp's six: half the time of its default for a few percent more bytes.
constexpr int kEffort = 3;
constexpr std::size_t kExifBytesMax = 1 << 20;  // a larger one is left out
constexpr int kWebpPixelBytes = 8;              // RGBA, and once more within libwebp where nothing is lost

const std::uint8_t* data_of(std::string_view bytes) {
  return reinterpret_cast<const std::uint8_t*>(bytes.data());
}

// The EXIF chunk, or nothing.
std::string exif_of_webp(std::string_view bytes) {
  const WebPData data{data_of(bytes), bytes.size()};
  const std::unique_ptr<WebPDemuxer, void (*)(WebPDemuxer*)> demuxer(WebPDemux(&data), WebPDemuxDelete);
  if (demuxer == nullptr) return {};
  WebPChunkIterator chunk;
  std::string exif;
  if (WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &chunk) != 0 && chunk.chunk.size <= kExifBytesMax)
    exif.assign(reinterpret_cast<const char*>(chunk.chunk.bytes), chunk.chunk.size);
  WebPDemuxReleaseChunkIterator(&chunk);
  return exif;
}

// The file with an EXIF chunk in it.
std::string with_exif(std::string bytes, const std::string& exif) {
  const WebPData file{data_of(bytes), bytes.size()}, block{data_of(exif), exif.size()};
  const std::unique_ptr<WebPMux, void (*)(WebPMux*)> mux(WebPMuxCreate(&file, 0), WebPMuxDelete);
  WebPData whole{nullptr, 0};
  if (mux == nullptr || WebPMuxSetChunk(mux.get(), "EXIF", &block, 0) != WEBP_MUX_OK ||
      WebPMuxAssemble(mux.get(), &whole) != WEBP_MUX_OK)
    throw std::bad_alloc();  // nothing else can fail with a file of our own
  const std::unique_ptr<const std::uint8_t, void (*)(const std::uint8_t*)> kept(
      whole.bytes, [](const std::uint8_t* data) { WebPFree(const_cast<std::uint8_t*>(data)); });
  return {reinterpret_cast<const char*>(whole.bytes), whole.size};
}

}  // namespace

bool is_webp(std::string_view bytes) {
  return bytes.size() >= 12 && bytes.substr(0, 4) == "RIFF" && bytes.substr(8, 4) == "WEBP";
}

Result<Image> decode_webp(std::string_view bytes, const DecodeLimits& limits) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data_of(bytes), bytes.size(), &features) != VP8_STATUS_OK)
    return invalid_image("the WebP is damaged or not whole");
  if (features.has_animation != 0) return invalid_image("animated WebP is not accepted: send one picture");
  TRY_VOID(check_size(features.width, features.height, kWebpPixelBytes, limits));
  Image image{features.width, features.height, features.has_alpha != 0 ? 4 : 3, {}};
  image.pixels.resize(image.stride() * image.height);
  const auto decode = features.has_alpha != 0 ? WebPDecodeRGBAInto : WebPDecodeRGBInto;
  if (decode(data_of(bytes), bytes.size(), image.pixels.data(), image.pixels.size(),
             static_cast<int>(image.stride())) == nullptr) {
    return invalid_image("the WebP is damaged or not whole");
  }
  return oriented(std::move(image), exif_orientation(exif_of_webp(bytes)));
}

Result<std::string> encode_webp(const Image& image, const EncodeOptions& options) {
  if (image.channels == 1) return encode_webp(to_rgb(image), options);
  const std::unique_ptr<WebPPicture, void (*)(WebPPicture*)> picture(new WebPPicture, [](WebPPicture* p) {
    WebPPictureFree(p);
    delete p;
  });
  WebPConfig config;
  CHECK(WebPPictureInit(picture.get()) != 0 &&
        WebPConfigPreset(&config, WEBP_PRESET_DEFAULT, static_cast<float>(options.quality)) != 0);
  config.method = kEffort;
  picture->width = image.width;
  picture->height = image.height;
  std::string bytes;
  picture->custom_ptr = &bytes;
  picture->writer = [](const std::uint8_t* data, std::size_t size, const WebPPicture* to) {
    static_cast<std::string*>(to->custom_ptr)->append(reinterpret_cast<const char*>(data), size);
    return 1;
  };
  const auto import = image.channels == 4 ? WebPPictureImportRGBA : WebPPictureImportRGB;
  const int stride = static_cast<int>(image.stride());
  if (import(picture.get(), image.pixels.data(), stride) == 0 || WebPEncode(&config, picture.get()) == 0)
    return fail(ErrorCode::unsupported, "the picture does not fit a WebP");
  const std::string_view parameters = find_text(options, kParametersKey);
  if (!parameters.empty()) return with_exif(std::move(bytes), exif_with_comment(parameters));
  return bytes;
}

Result<std::vector<TextChunk>> read_webp_text(std::string_view bytes) {
  std::string comment = exif_comment(exif_of_webp(bytes));
  if (comment.empty()) return std::vector<TextChunk>();
  return std::vector<TextChunk>{{std::string(kCommentKey), std::move(comment)}};
}

}  // namespace diffused
