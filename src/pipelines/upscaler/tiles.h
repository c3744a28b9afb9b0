// A large picture in pieces that a network takes at a time.
#pragma once

#include <vector>

#include "image/fit.h"

namespace diffused::pipelines {

// A piece: what is made of it, and what the network sees for that, both in the picture's pixels.
struct Tile {
  Box made, seen;
};

// Pieces that cover the picture once, in reading order, of at most `side` pixels a side. Each sees `context`
// more around itself, as far as the picture goes; both are multiples of what a network takes as one pixel,
// so that what is seen begins at such a multiple.
std::vector<Tile> tiles_of(int width, int height, int side, int context);

}  // namespace diffused::pipelines
