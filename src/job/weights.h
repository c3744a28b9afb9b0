// What models have in memory, of which several may share a part.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

namespace diffused {

// One network of a model. Those of equal ids are one in memory, whichever models have them.
struct NetworkWeights {
  std::uint64_t id = 0;
  std::uint64_t bytes = 0;
};

// The weights of several models together, each network once.
class WeightSum {
 public:
  void add(const std::vector<NetworkWeights>& networks) {
    for (const NetworkWeights& network : networks)
      if (counted_.insert(network.id).second) bytes_ += network.bytes;
  }
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::set<std::uint64_t> counted_;
  std::uint64_t bytes_ = 0;
};

}  // namespace diffused
