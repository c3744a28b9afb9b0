#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace diffused {
namespace {

constexpr double kLobes = 3.0;
// Weights are whole numbers of 2^-22, Pillow's precision: what is left of 32 bits for 8-bit samples and
// overshoot.
constexpr int kFractionBits = 32 - 8 - 2;

double sinc(double x) { return x == 0.0 ? 1.0 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi); }
double lanczos(double x) { return -kLobes <= x && x < kLobes ? sinc(x) * sinc(x / kLobes) : 0.0; }
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
}

// How much a pixel at a distance counts, and up to which distance any does.
struct Curve {
  double (*weight)(double) = nullptr;
  double reach = 0;
};
constexpr Curve kLanczos{lanczos, kLobes}, kBicubic{bicubic, 2.0};

// The old pixels that one new pixel is made of.
struct Window {
  int first = 0;
  std::vector<std::int32_t> weights;
};

// One window for each of `to` new positions along an axis of `from` old ones.
std::vector<Window> windows(int from, int to, const Curve& curve) {
  const double scale = static_cast<double>(from) / to;
  const double stretch = std::max(scale, 1.0);
  const double reach = curve.reach * stretch;
  std::vector<Window> result(to);
  std::vector<double> weights;
  for (int i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - reach + 0.5), 0);
    const int last = std::min(static_cast<int>(centre + reach + 0.5), from);
    weights.clear();
    double sum = 0.0;
    for (int x = first; x < last; ++x) {
      weights.push_back(curve.weight((x - centre + 0.5) * (1.0 / stretch)));
      sum += weights.back();
    }
    result[i].first = first;
    for (const double weight : weights) {
      const double scaled = (sum != 0.0 ? weight / sum : weight) * (1 << kFractionBits);
      result[i].weights.push_back(static_cast<std::int32_t>(scaled + (scaled < 0 ? -0.5 : 0.5)));
    }
  }
  return result;
}

// The weighted sum of samples `step` apart, rounded and clipped to a byte.
std::uint8_t weigh(const std::uint8_t* samples, std::size_t step, const Window& window) {
  std::int32_t sum = 1 << (kFractionBits - 1);
  for (const std::int32_t weight : window.weights) {
    sum += *samples * weight;
    samples += step;
  }
  return static_cast<std::uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

Image resize_rows(const Image& image, int width, const Curve& curve) {
  if (width == image.width) return image;
  Image result{width, image.height, image.channels, {}};
  result.pixels.resize(result.stride() * result.height);
  const auto columns = windows(image.width, width, curve);
  auto* to = result.pixels.data();
  for (int y = 0; y < image.height; ++y) {
    const auto* row = image.pixels.data() + y * image.stride();
    for (const Window& window : columns)
      for (int c = 0; c < image.channels; ++c)
        *to++ =
            weigh(row + static_cast<std::size_t>(window.first) * image.channels + c, image.channels, window);
  }
  return result;
}

Image resize_columns(const Image& image, int height, const Curve& curve) {
  if (height == image.height) return image;
  Image result{image.width, height, image.channels, {}};
  result.pixels.resize(result.stride() * result.height);
  auto* to = result.pixels.data();
  for (const Window& window : windows(image.height, height, curve)) {
    const auto* top = image.pixels.data() + window.first * image.stride();
    for (std::size_t i = 0; i < image.stride(); ++i) *to++ = weigh(top + i, image.stride(), window);
  }
  return result;
}

Image resize(const Image& image, int width, int height, const Curve& curve) {
  CHECK(width >= 1 && height >= 1 && image.width >= 1 && image.height >= 1);
  // Rounding between the passes makes their order visible. This is Pillow 13's, as told by its results.
  const bool columns_first = height < image.height && image.height - height > 2 * (image.width - width);
  return columns_first ? resize_rows(resize_columns(image, height, curve), width, curve)
                       : resize_columns(resize_rows(image, width, curve), height, curve);
}

}  // namespace

Image resize_lanczos(const Image& image, int width, int height) {
  return resize(image, width, height, kLanczos);
}

Image resize_bicubic(const Image& image, int width, int height) {
  return resize(image, width, height, kBicubic);
}

}  // namespace diffused
