#include "image/png.h"

#include <png.h>

#include <algorithm>
#include <cstring>

#include "base/utf8.h"
#include "image/exif.h"

namespace diffused {
namespace {

constexpr std::size_t kSignatureBytes = 8;
// Compressed text can unfold to anything; no honest chunk of ours or A1111's is near these. All of it is in
// memory at once.
constexpr png_alloc_size_t kChunkBytesMax = 1 << 20;
constexpr png_uint_32 kChunksMax = 16;
constexpr std::size_t kTextBytesMax = 1 << 20;  // of all chunks together
constexpr int kPngPixelBytes = 4;               // RGBA
// Between zlib's quickest and its default: a third of the time for a few percent more bytes.
constexpr int kCompressionLevel = 4;

// libpng's own text never reaches anybody: the caller says what went wrong in our words.
[[noreturn]] void on_error(png_structp png, png_const_charp) { png_longjmp(png, 1); }
void on_warning(png_structp, png_const_charp) {}

// libpng reports errors by longjmp, which skips destructors: `work` must own nothing that has one.
template <typename Work>
bool survives(png_structp png, const Work& work) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  work();
  return true;
}

class Reader {
 public:
  explicit Reader(std::string_view bytes)
      : png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, on_error, on_warning)),
        info_(png_ != nullptr ? png_create_info_struct(png_) : nullptr),
        rest_(bytes) {
    if (info_ == nullptr) throw std::bad_alloc();
    png_set_read_fn(png_, this, &Reader::read);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  png_structp png() const { return png_; }
  png_infop info() const { return info_; }

 private:
  static void read(png_structp png, png_bytep to, std::size_t count) {
    auto* self = static_cast<Reader*>(png_get_io_ptr(png));
    if (count > self->rest_.size()) png_error(png, "truncated");
    std::memcpy(to, self->rest_.data(), count);
    self->rest_.remove_prefix(count);
  }

  png_structp png_;
  png_infop info_;
  std::string_view rest_;
};

class Writer {
 public:
  Writer()
      : png_(png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, on_error, on_warning)),
        info_(png_ != nullptr ? png_create_info_struct(png_) : nullptr) {
    if (info_ == nullptr) throw std::bad_alloc();
    png_set_write_fn(png_, this, &Writer::write, nullptr);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { png_destroy_write_struct(&png_, &info_); }

  png_structp png() const { return png_; }
  png_infop info() const { return info_; }
  std::string take() { return std::move(bytes_); }

 private:
  static void write(png_structp png, png_bytep from, std::size_t count) {
    static_cast<Writer*>(png_get_io_ptr(png))->bytes_.append(reinterpret_cast<char*>(from), count);
  }

  png_structp png_;
  png_infop info_;
  std::string bytes_;
};

// Reads up to the first pixel, passing over the named chunks (four letters and a zero each) unread.
bool read_header(const Reader& reader, std::string_view passed_over) {
  return survives(reader.png(), [&] {
    png_set_chunk_cache_max(reader.png(), kChunksMax);
    png_set_chunk_malloc_max(reader.png(), kChunkBytesMax);
    png_set_keep_unknown_chunks(reader.png(), PNG_HANDLE_CHUNK_NEVER,
                                reinterpret_cast<png_const_bytep>(passed_over.data()),
                                static_cast<int>(passed_over.size() / 5));
    png_read_info(reader.png(), reader.info());
  });
}

// Makes every kind of PNG come out as 8-bit grey, RGB or RGBA, and returns the number of passes over the
// rows.
int set_transforms(const Reader& reader) {
  png_set_expand(reader.png());
  png_set_strip_16(reader.png());
  const png_byte type = png_get_color_type(reader.png(), reader.info());
  const bool transparent = png_get_valid(reader.png(), reader.info(), PNG_INFO_tRNS) != 0;
  if (type == PNG_COLOR_TYPE_GRAY_ALPHA || (type == PNG_COLOR_TYPE_GRAY && transparent))
    png_set_gray_to_rgb(reader.png());
  const int passes = png_set_interlace_handling(reader.png());
  png_read_update_info(reader.png(), reader.info());
  return passes;
}

int orientation_of(const Reader& reader) {
  png_bytep exif = nullptr;
  png_uint_32 size = 0;
  if (png_get_eXIf_1(reader.png(), reader.info(), &size, &exif) == 0 || exif == nullptr) return 1;
  return exif_orientation({reinterpret_cast<const char*>(exif), size});
}

// Latin-1, which tEXt and zTXt hold, as UTF-8.
std::string from_latin1(std::string_view text) {
  std::string utf8;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      utf8 += c;
    } else {
      utf8 += static_cast<char>(0xC0 | byte >> 6);
      utf8 += static_cast<char>(0x80 | (byte & 0x3F));
    }
  }
  return utf8;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

bool is_png(std::string_view bytes) {
  return bytes.size() >= kSignatureBytes &&
         png_sig_cmp(reinterpret_cast<png_const_bytep>(bytes.data()), 0, kSignatureBytes) == 0;
}

Result<Image> decode_png(std::string_view bytes, const DecodeLimits& limits) {
  static constexpr std::string_view kNotPixels("iCCP\0tEXt\0zTXt\0iTXt\0sPLT\0", 25);
  const Reader reader(bytes);
  if (!read_header(reader, kNotPixels)) return invalid_image("the PNG is damaged or not whole");
  Image image;
  TRY_VOID(check_size(png_get_image_width(reader.png(), reader.info()),
                      png_get_image_height(reader.png(), reader.info()), kPngPixelBytes, limits));
  int passes = 0;
  if (!survives(reader.png(), [&] { passes = set_transforms(reader); }))
    return invalid_image("the PNG is of a kind that does not exist");
  image.width = static_cast<int>(png_get_image_width(reader.png(), reader.info()));
  image.height = static_cast<int>(png_get_image_height(reader.png(), reader.info()));
  image.channels = png_get_channels(reader.png(), reader.info());
  image.pixels.resize(image.stride() * image.height);
  const bool whole = survives(reader.png(), [&] {
    for (int pass = 0; pass < passes; ++pass)
      for (int y = 0; y < image.height; ++y)
        png_read_row(reader.png(), image.pixels.data() + y * image.stride(), nullptr);
    png_read_end(reader.png(), reader.info());
  });
  if (!whole) return invalid_image("the PNG is damaged or not whole");
  return oriented(std::move(image), orientation_of(reader));
}

Result<std::string> encode_png(const Image& image, const EncodeOptions& options) {
  Writer writer;
  std::vector<png_text> chunks;
  for (const TextChunk& chunk : options.text) {
    png_text text{};
    // tEXt holds Latin-1 only; readers know both.
    text.compression = is_ascii(chunk.text) ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    text.key = const_cast<char*>(chunk.key.c_str());
    text.text = const_cast<char*>(chunk.text.c_str());
    text.text_length = chunk.text.size();
    chunks.push_back(text);
  }
  const int type = image.channels == 1   ? PNG_COLOR_TYPE_GRAY
                   : image.channels == 3 ? PNG_COLOR_TYPE_RGB
                                         : PNG_COLOR_TYPE_RGB_ALPHA;
  const bool written = survives(writer.png(), [&] {
    png_set_IHDR(writer.png(), writer.info(), image.width, image.height, 8, type, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(writer.png(), kCompressionLevel);
    if (!chunks.empty())
      png_set_text(writer.png(), writer.info(), chunks.data(), static_cast<int>(chunks.size()));
    png_write_info(writer.png(), writer.info());
    for (int y = 0; y < image.height; ++y)
      png_write_row(writer.png(), image.pixels.data() + y * image.stride());
    png_write_end(writer.png(), nullptr);
  });
  if (!written) return fail(ErrorCode::unsupported, "the picture does not fit a PNG");
  return writer.take();
}

Result<std::vector<TextChunk>> read_png_text(std::string_view bytes) {
  static constexpr std::string_view kNotText("iCCP\0sPLT\0", 10);
  const Reader reader(bytes);
  if (!is_png(bytes) || !read_header(reader, kNotText))
    return invalid_image("the PNG is damaged or not whole");
  png_textp texts = nullptr;
  int count = 0;
  png_get_text(reader.png(), reader.info(), &texts, &count);
  std::vector<TextChunk> chunks;
  std::size_t text_bytes = 0;
  for (const png_text& text : std::span(texts, count)) {
    const bool utf8 = text.compression >= PNG_ITXT_COMPRESSION_NONE;
    const std::string_view value(text.text, utf8 ? text.itxt_length : text.text_length);
    text_bytes += value.size();
    if (text_bytes > kTextBytesMax)
      return fail(ErrorCode::payload_too_large, "the PNG holds more than 1 MiB of text", {},
                  "image_too_large");
    chunks.push_back({from_latin1(text.key), utf8 ? to_utf8(value) : from_latin1(value)});
  }
  return chunks;
}

}  // namespace diffused
