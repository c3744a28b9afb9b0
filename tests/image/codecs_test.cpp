#include <gtest/gtest.h>

#include <random>
#include <set>

#include "image/channels.h"
#include "image/codec.h"
#include "image/exif.h"
#include "image/png.h"
#include "support/files.h"
#include "support/source_folder.h"

namespace diffused {
namespace {

std::string fixture(const std::string& name) {
  return read_file(test::source_folder() / "tests/image/data" / name);
}

Image decoded(const std::string& name) {
  auto image = decode_image(fixture(name), {});
  EXPECT_TRUE(image) << name << ": " << image.error().message;
  return image ? *std::move(image) : Image{};
}

// The largest difference of two pictures of one size.
int distance(const Image& a, const Image& b) {
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.height, b.height);
  EXPECT_EQ(a.channels, b.channels);
  int largest = a.pixels.size() == b.pixels.size() ? 0 : 256;
  for (std::size_t i = 0; i < std::min(a.pixels.size(), b.pixels.size()); ++i)
    largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

Image noise(int width, int height, int channels) {
  Image image{width, height, channels, {}};
  std::mt19937 random(7);
  for (std::size_t i = 0; i < image.stride() * height; ++i) image.pixels.push_back(random() & 0xFF);
  return image;
}

struct Fixture {
  const char* name;
  int channels;
  int tolerance;  // libjpeg-turbo and Pillow's copy of it may round a colour differently
};

class ReadsAsPillow : public testing::TestWithParam<Fixture> {};

TEST_P(ReadsAsPillow, EveryPixel) {
  const auto& [name, channels, tolerance] = GetParam();
  const Image image = decoded(name);
  EXPECT_EQ(image.channels, channels);
  const std::string expected = std::filesystem::path(name).stem().string() + ".rgb.png";
  EXPECT_LE(distance(to_rgb(image), decoded(expected)), tolerance);
}

INSTANTIATE_TEST_SUITE_P(
    Decode, ReadsAsPillow,
    testing::Values(
        Fixture{"png_rgb.png", 3, 0}, Fixture{"png_rgba.png", 4, 0}, Fixture{"png_grey.png", 1, 0},
        Fixture{"png_grey_alpha.png", 4, 0}, Fixture{"png_palette.png", 3, 0},
        Fixture{"png_one_bit.png", 1, 0}, Fixture{"png_sixteen_bit.png", 3, 0},
        Fixture{"png_interlaced.png", 3, 0}, Fixture{"png_exif.png", 3, 0}, Fixture{"jpeg_rgb.jpg", 3, 2},
        Fixture{"jpeg_grey.jpg", 1, 2}, Fixture{"jpeg_progressive.jpg", 3, 2}, Fixture{"jpeg_cmyk.jpg", 3, 2},
        Fixture{"jpeg_exif_1.jpg", 3, 2}, Fixture{"jpeg_exif_2.jpg", 3, 2}, Fixture{"jpeg_exif_3.jpg", 3, 2},
        Fixture{"jpeg_exif_4.jpg", 3, 2}, Fixture{"jpeg_exif_5.jpg", 3, 2}, Fixture{"jpeg_exif_6.jpg", 3, 2},
        Fixture{"jpeg_exif_7.jpg", 3, 2}, Fixture{"jpeg_exif_8.jpg", 3, 2},
        Fixture{"webp_lossless.webp", 3, 0}, Fixture{"webp_alpha.webp", 4, 0},
        Fixture{"webp_lossy.webp", 3, 1}, Fixture{"webp_exif.webp", 3, 0}, Fixture{"gif_palette.gif", 3, 0},
        Fixture{"gif_interlaced.gif", 3, 0}, Fixture{"gif_transparent.gif", 4, 0},
        Fixture{"bmp_rgb.bmp", 3, 0}, Fixture{"bmp_grey.bmp", 3, 0}, Fixture{"bmp_palette.bmp", 3, 0},
        Fixture{"bmp_one_bit.bmp", 3, 0}, Fixture{"bmp_rgba.bmp", 3, 0}, Fixture{"bmp_565.bmp", 3, 0},
        Fixture{"tiff_rgb.tiff", 3, 0}, Fixture{"tiff_lzw.tiff", 3, 0}, Fixture{"tiff_jpeg.tiff", 3, 2},
        Fixture{"tiff_grey.tiff", 3, 0}, Fixture{"tiff_palette.tiff", 3, 0},
        Fixture{"tiff_opaque_alpha.tiff", 3, 0}, Fixture{"tiff_turned_3.tiff", 3, 0},
        Fixture{"tiff_turned_6.tiff", 3, 0}, Fixture{"tiff_turned_7.tiff", 3, 0},
        Fixture{"tiff_pages.tiff", 3, 0}),
    [](const auto& test) { return std::filesystem::path(test.param.name).stem().string(); });

struct Refusal {
  const char* name;
  const char* reason;
};

class Refuses : public testing::TestWithParam<Refusal> {};

TEST_P(Refuses, InOurOwnWords) {
  const auto image = decode_image(fixture(GetParam().name), {});
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(image.error().reason, GetParam().reason) << image.error().message;
}

INSTANTIATE_TEST_SUITE_P(Decode, Refuses,
                         testing::Values(Refusal{"bomb_pixels.png", "image_too_large"},
                                         Refusal{"bomb_scans.jpg", "invalid_image_file"},
                                         Refusal{"webp_animated.webp", "invalid_image_file"},
                                         Refusal{"gif_animated.gif", "invalid_image_file"}),
                         [](const auto& test) {
                           return std::filesystem::path(test.param.name).stem().string();
                         });

TEST(Decode, LeavesCompressedTextAndProfilesFolded) {
  EXPECT_EQ(decoded("bomb_profile.png").width, 2);
  EXPECT_EQ(decoded("bomb_text.png").width, 2);
}

TEST(Decode, RefusesWhatIsNoPicture) {
  for (const std::string& bytes : {std::string(), std::string("hello"), std::string("\x89PNG\r\n\x1a\n"),
                                   std::string("\xFF\xD8\xFF"), std::string("RIFF\0\0\0\0WEBP", 12)}) {
    const auto image = decode_image(bytes, {});
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().reason, "invalid_image_file");
  }
}

TEST(Decode, HoldsEveryFormatAgainstTheLimits) {
  const DecodeLimits narrow{.side_max = 4};
  const DecodeLimits few{.pixels_max = 10};
  for (const char* name : {"png_rgb.png", "jpeg_rgb.jpg", "webp_lossless.webp", "gif_palette.gif",
                           "bmp_rgb.bmp", "tiff_rgb.tiff"}) {
    for (const DecodeLimits& limits : {narrow, few}) {
      const auto image = decode_image(fixture(name), limits);
      ASSERT_FALSE(image) << name;
      EXPECT_EQ(image.error().reason, "image_too_large");
    }
  }
}

TEST(Decode, AsksForMemoryBeforeItTakesAny) {
  for (const char* name : {"png_rgb.png", "jpeg_rgb.jpg", "webp_lossless.webp", "gif_palette.gif",
                           "bmp_rgb.bmp", "tiff_rgb.tiff"}) {
    const Image image = decoded(name);
    std::uint64_t asked = 0;
    DecodeLimits limits;
    limits.reserve = [&](std::uint64_t bytes) -> Result<void> {
      asked += bytes;
      return fail(ErrorCode::overloaded, "no memory");
    };
    const auto refused = decode_image(fixture(name), limits);
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().code, ErrorCode::overloaded) << name;
    EXPECT_GE(asked, image.pixels.size()) << name;
  }
}

const char* const kWhole[] = {
    "png_rgb.png",     "png_palette.png",      "png_interlaced.png", "png_exif.png",    "png_text.png",
    "jpeg_rgb.jpg",    "jpeg_progressive.jpg", "jpeg_exif_6.jpg",    "jpeg_cmyk.jpg",   "webp_lossy.webp",
    "webp_alpha.webp", "webp_exif.webp",       "gif_interlaced.gif", "bmp_palette.bmp", "bmp_565.bmp",
    "tiff_lzw.tiff",   "tiff_palette.tiff"};

TEST(Decode, RefusesAnyTruncation) {
  for (const char* name : kWhole) {
    const std::string bytes = fixture(name);
    // A JPEG without its two-byte end mark, or a WebP without its padding and metadata, shows the whole
    // picture.
    const bool png = bytes.substr(1, 3) == "PNG";
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const auto image = decode_image(std::string_view(bytes).substr(0, size), {});
      EXPECT_TRUE(!image || (!png && size >= bytes.size() / 2)) << name << " cut to " << size;
    }
  }
}

TEST(Decode, SurvivesFlippedBits) {
  std::mt19937 random(42);
  const DecodeLimits limits{.side_max = 2048, .pixels_max = 1 << 20};
  for (const char* name : kWhole) {
    const std::string whole = fixture(name);
    for (int round = 0; round < 400; ++round) {
      std::string bytes = whole;
      for (unsigned flips = 1 + random() % 4; flips > 0; --flips)
        bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
      const auto image = decode_image(bytes, limits);
      EXPECT_TRUE(!image || image->pixels.size() == image->stride() * image->height);
      if (is_png(bytes)) static_cast<void>(read_png_text(bytes));
    }
  }
}

TEST(Encode, GivesBackEveryPixelOfAPng) {
  for (const int channels : {1, 3, 4}) {
    const Image image = noise(17, 9, channels);
    const auto bytes = encode_png(image, {});
    ASSERT_TRUE(bytes);
    EXPECT_EQ(distance(*decode_image(*bytes, {}), image), 0);
  }
}

TEST(Encode, StaysCloseInJpegAndWebpAndFollowsTheQuality) {
  const Image image = decoded("webp_lossy.webp");
  for (const char* name : {"jpeg", "webp"}) {
    const Codec* codec = find_codec(name);
    ASSERT_NE(codec, nullptr);
    const auto best = codec->encode(image, {.quality = 100});
    const auto worst = codec->encode(image, {.quality = 1});
    ASSERT_TRUE(best && worst);
    EXPECT_LT(worst->size(), best->size());
    EXPECT_TRUE(codec->recognizes(*best));
    EXPECT_LE(distance(*codec->decode(*best, {}), image), 12) << name;
  }
}

TEST(Encode, TakesGreyAndAlphaInEveryFormat) {
  for (const Codec& codec : codecs())
    for (const int channels : {1, 3, 4}) EXPECT_TRUE(codec.encode(noise(8, 8, channels), {})) << codec.name;
}

TEST(Encode, RefusesWhatTheFormatCannotHold) {
  const Image wide{70'000, 1, 3, std::vector<std::uint8_t>(210'000)};
  for (const char* name : {"jpeg", "webp"}) {
    const auto bytes = find_codec(name)->encode(wide, {});
    ASSERT_FALSE(bytes) << name;
    EXPECT_EQ(bytes.error().code, ErrorCode::unsupported);
  }
}

TEST(PngText, TravelsUnchangedInAnyLanguage) {
  const std::vector<TextChunk> text{{"parameters", "a kitten\nSteps: 28"}, {"title", "Kätzchen 🐈"}};
  const auto bytes = encode_png(noise(2, 2, 3), {.text = text});
  ASSERT_TRUE(bytes);
  const auto read = read_png_text(*bytes);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 2u);
  for (std::size_t i = 0; i < text.size(); ++i) {
    EXPECT_EQ((*read)[i].key, text[i].key);
    EXPECT_EQ((*read)[i].text, text[i].text);
  }
}

TEST(PngText, IsReadFromOtherWriters) {
  const auto read = read_png_text(fixture("png_text.png"));
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 3u);
  EXPECT_EQ((*read)[0].text, "a kitten\nSteps: 28, Seed: 7");
  EXPECT_EQ((*read)[1].text, "Kätzchen 🐈");
  EXPECT_EQ((*read)[2].text.size(), 1000u);
}

TEST(PngText, StaysFoldedWhenItWouldFillTheMemory) {
  const auto read = read_png_text(fixture("bomb_text.png"));
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->empty());
}

TEST(PngText, IsBoundedInAll) {
  std::vector<TextChunk> chunks(4, {"parameters", std::string(300'000, 'x')});
  const auto bytes = encode_png(noise(2, 2, 3), {.text = chunks});
  EXPECT_EQ(read_png_text(*bytes).error().code, ErrorCode::payload_too_large);
  chunks.resize(3);
  EXPECT_EQ(read_png_text(*encode_png(noise(2, 2, 3), {.text = chunks}))->size(), 3u);
  // Of many small ones the first are read.
  chunks.assign(1000, {"parameters", "x"});
  EXPECT_LT(read_png_text(*encode_png(noise(2, 2, 3), {.text = chunks}))->size(), 16u);
}

// A text that calls itself UTF-8 and is not would make an answer that is none.
TEST(PngText, IsUtf8WhateverItCallsItself) {
  const auto bytes = encode_png(noise(2, 2, 3), {.text = {{"title", "caf\xC3\xA9 \xFF"}}});
  EXPECT_EQ(read_png_text(*bytes)->front().text, "caf\xC3\xA9 \uFFFD");
}

TEST(PngText, RefusesWhatIsNoPng) { EXPECT_FALSE(read_png_text("hello")); }

TEST(Text, TravelsInEveryFormat) {
  const std::string parameters = "a kitten, Kätzchen 🐈, 子猫\nSteps: 28, Size: 64x64";
  const EncodeOptions options{.quality = 80,
                              .text = {{"diffused", "{}"}, {std::string(kParametersKey), parameters}}};
  for (const Codec& codec : codecs()) {
    for (const int channels : {1, 3, 4}) {
      const auto bytes = codec.encode(noise(9, 7, channels), options);
      ASSERT_TRUE(bytes) << codec.name;
      const auto read = read_text(*bytes);
      ASSERT_TRUE(read) << codec.name;
      ASSERT_EQ(read->size(), codec.name == "png" ? 2u : 1u);
      EXPECT_EQ(read->back().text, parameters);
      EXPECT_EQ(read->back().key, codec.name == "png" ? kParametersKey : kCommentKey);
      // The picture is the one without a text.
      EXPECT_EQ(decode_image(*bytes, {})->pixels,
                decode_image(*codec.encode(noise(9, 7, channels), {80}), {})->pixels);
    }
  }
}

TEST(Text, IsReadFromOtherWritersOfExif) {
  const auto text_of = [](const char* name) {
    const auto read = read_text(fixture(name));
    return read && read->size() == 1 ? read->front().text : std::string("(none)");
  };
  EXPECT_EQ(text_of("jpeg_text.jpg"), "Kätzchen 🐈\nSteps: 28, Seed: 7");
  EXPECT_EQ(text_of("webp_text.webp"), "Kätzchen 🐈\nSteps: 28, Seed: 7");
  EXPECT_EQ(text_of("jpeg_ascii_text.jpg"), "a kitten");
  std::string latin = fixture("jpeg_ascii_text.jpg");  // which says that it is ASCII
  latin[latin.find("kitten")] = '\xE4';
  EXPECT_EQ(read_text(latin)->front().text, "a \xEF\xBF\xBDitten");
  EXPECT_EQ(text_of("jpeg_low_byte_first.jpg"), "a kitten");
  EXPECT_EQ(text_of("jpeg_exif_6.jpg"), "(none)");
}

TEST(Text, TooLongForAJpegIsLeftOut) {
  const EncodeOptions options{.text = {{std::string(kParametersKey), std::string(40'000, 'x')}}};
  EXPECT_TRUE(read_text(*find_codec("jpeg")->encode(noise(4, 4, 3), options))->empty());
  EXPECT_EQ(read_text(*find_codec("webp")->encode(noise(4, 4, 3), options))->front().text.size(), 40'000u);
}

TEST(Exif, SurvivesWhateverTheBlockHolds) {
  const std::string whole = exif_with_comment("a kitten 🐈");
  EXPECT_EQ(exif_comment(whole), "a kitten 🐈");
  EXPECT_EQ(exif_comment("Exif" + std::string(2, '\0') + whole), "a kitten 🐈");
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_EQ(exif_comment(std::string_view(whole).substr(0, size)), "") << size;
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = whole;
    for (int flips = 1 + random() % 4; flips > 0; --flips)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    static_cast<void>(exif_comment(bytes));
    EXPECT_LE(exif_orientation(bytes), 8);
  }
}

TEST(Channels, LayTransparencyOnPaperAsPillowDoes) {
  const Image picture = decoded("png_rgba.png");
  EXPECT_EQ(on_paper(picture, {255, 240, 7}).pixels, decoded("png_rgba.paper.png").pixels);
  EXPECT_EQ(on_paper(noise(3, 2, 3)).pixels, noise(3, 2, 3).pixels);
  EXPECT_EQ(on_paper(noise(3, 2, 1)).channels, 1);
  const Image alpha = alpha_of(picture);
  for (std::size_t i = 0; i < alpha.pixels.size(); ++i) EXPECT_EQ(alpha.pixels[i], picture.pixels[4 * i + 3]);
}

TEST(Codecs, AreFoundByNameAndByExtension) {
  EXPECT_EQ(find_codec("jpeg"), find_codec("jpg"));
  EXPECT_EQ(find_codec("gif"), nullptr);
  std::set<std::string_view> media_types;
  for (const Codec& codec : codecs()) EXPECT_TRUE(media_types.insert(codec.media_type).second);
}

}  // namespace
}  // namespace diffused
