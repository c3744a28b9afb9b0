#include "image/blur.h"

#include <cmath>
#include <cstdlib>
#include <type_traits>
#include <vector>

#include "base/check.h"

namespace diffused {
namespace {

constexpr double kDeviations = 2.5;

// The right half of the bell, the middle first; both halves sum to 1.
std::vector<float> bell(double sigma) {
  const int radius = static_cast<int>(kDeviations * sigma + 0.5);
  std::vector<double> weights;
  double sum = 0;
  for (int i = 0; i <= radius; ++i) {
    weights.push_back(std::exp(-i * i / (2 * sigma * sigma)));
    sum += i == 0 ? weights.back() : 2 * weights.back();
  }
  std::vector<float> halves;
  for (const double weight : weights) halves.push_back(static_cast<float>(weight / sum));
  return halves;
}

// Where the line goes on past its ends: 3 2 1 | 0 1 2 3 | 2 1 0. A blur may reach over a short line more than
// once.
int mirrored(int index, int size) {
  if (size == 1) return 0;
  const int period = 2 * (size - 1);
  const int within = std::abs(index) % period;
  return within < size ? within : period - within;
}

// The columns of a plane, blurred, as rows of the next: a second turn brings it upright again. To whole
// numbers they are rounded.
template <typename To, typename From>
std::vector<To> blurred_and_turned(const std::vector<From>& values, int width, int height,
                                   const std::vector<float>& weights) {
  const auto row = [&](int y) { return values.data() + static_cast<std::size_t>(y) * width; };
  std::vector<To> turned(values.size());
  std::vector<float> sums(width);
  for (int y = 0; y < height; ++y) {
    const From* middle = row(y);
    for (int x = 0; x < width; ++x) sums[x] = weights[0] * static_cast<float>(middle[x]);
    for (int offset = 1; offset < static_cast<int>(weights.size()); ++offset) {
      const From* above = row(mirrored(y - offset, height));
      const From* below = row(mirrored(y + offset, height));
      for (int x = 0; x < width; ++x)
        sums[x] += weights[offset] * (static_cast<float>(above[x]) + static_cast<float>(below[x]));
    }
    for (int x = 0; x < width; ++x)
      turned[static_cast<std::size_t>(x) * height + y] =
          static_cast<To>(std::is_integral_v<To> ? sums[x] + 0.5f : sums[x]);
  }
  return turned;
}

}  // namespace

Image blur_gaussian(const Image& grey, double sigma) {
  CHECK(grey.channels == 1);
  if (sigma <= 0) return grey;
  const std::vector<float> weights = bell(sigma);
  const auto turned = blurred_and_turned<float>(grey.pixels, grey.width, grey.height, weights);
  return {grey.width, grey.height, 1,
          blurred_and_turned<std::uint8_t>(turned, grey.height, grey.width, weights)};
}

Image blend(const Image& under, const Image& over, const Image& mask) {
  CHECK(under.width == over.width && under.height == over.height && under.channels == over.channels);
  CHECK(mask.channels == 1 && mask.width == under.width && mask.height == under.height);
  Image result = under;
  for (std::size_t i = 0; i < result.pixels.size(); ++i) {
    const int share = mask.pixels[i / under.channels];
    result.pixels[i] =
        static_cast<std::uint8_t>((under.pixels[i] * (255 - share) + over.pixels[i] * share + 127) / 255);
  }
  return result;
}

}  // namespace diffused
