#include "pipelines/upscaler/tiles.h"

#include <algorithm>

namespace diffused::pipelines {
namespace {

struct Span {
  int begin = 0, length = 0;
};

Span with_context(Span span, int context, int whole) {
  const int begin = std::max(0, span.begin - context);
  return {begin, std::min(whole, span.begin + span.length + context) - begin};
}

}  // namespace

std::vector<Tile> tiles_of(int width, int height, int side, int context) {
  std::vector<Tile> tiles;
  for (int top = 0; top < height; top += side) {
    for (int left = 0; left < width; left += side) {
      const Span across{left, std::min(side, width - left)}, down{top, std::min(side, height - top)};
      const Span x = with_context(across, context, width), y = with_context(down, context, height);
      tiles.push_back(
          {{across.begin, down.begin, across.length, down.length}, {x.begin, y.begin, x.length, y.length}});
    }
  }
  return tiles;
}

}  // namespace diffused::pipelines
