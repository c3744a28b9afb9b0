// START HERE for the room `image`: 8-bit pictures and the bytes they travel as. No torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace diffused {

// An 8-bit picture in host memory; rows from the top, pixels interleaved, no padding.
// A plain value: copied and moved freely, owned by whoever holds it.
struct Image {
  int width = 0;
  int height = 0;
  int channels = 3;                  // 1 grey, 3 RGB, 4 RGBA with straight alpha
  std::vector<std::uint8_t> pixels;  // width * height * channels bytes

  std::size_t stride() const { return static_cast<std::size_t>(width) * channels; }
};

}  // namespace diffused
