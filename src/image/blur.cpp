#include "image/blur.h"

#include <cmath>
#include <cstdlib>

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

// A grey picture as numbers.
struct Plane {
  int width = 0, height = 0;
  std::vector<float> values;

  const float* row(int y) const { return values.data() + static_cast<std::size_t>(y) * width; }
};

// The columns of a plane, blurred, as rows of the next: a second turn brings it upright again.
Plane blurred_and_turned(const Plane& plane, const std::vector<float>& weights) {
  Plane turned{plane.height, plane.width, std::vector<float>(plane.values.size())};
  std::vector<float> sums(plane.width);
  for (int y = 0; y < plane.height; ++y) {
    const float* middle = plane.row(y);
    for (int x = 0; x < plane.width; ++x) sums[x] = weights[0] * middle[x];
    for (int offset = 1; offset < static_cast<int>(weights.size()); ++offset) {
      const float* above = plane.row(mirrored(y - offset, plane.height));
      const float* below = plane.row(mirrored(y + offset, plane.height));
      for (int x = 0; x < plane.width; ++x) sums[x] += weights[offset] * (above[x] + below[x]);
    }
    for (int x = 0; x < plane.width; ++x)
      turned.values[static_cast<std::size_t>(x) * plane.height + y] = sums[x];
  }
  return turned;
}

}  // namespace

Image blur_gaussian(const Image& grey, double sigma) {
  CHECK(grey.channels == 1);
  if (sigma <= 0) return grey;
  const std::vector<float> weights = bell(sigma);
  const Plane plane{grey.width, grey.height, {grey.pixels.begin(), grey.pixels.end()}};
  const Plane soft = blurred_and_turned(blurred_and_turned(plane, weights), weights);
  Image result{grey.width, grey.height, 1, {}};
  result.pixels.reserve(soft.values.size());
  for (const float value : soft.values) result.pixels.push_back(static_cast<std::uint8_t>(value + 0.5f));
  return result;
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
