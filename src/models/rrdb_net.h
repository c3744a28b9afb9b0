// The network of ESRGAN and Real-ESRGAN, which makes a picture larger: dense blocks with residuals inside of
// residuals (Wang et al., 2018, figure 4), without normalization.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "nn/conv.h"
#include "weights/scope.h"

namespace diffused::models {

struct RrdbNetConfig {
  std::int64_t features = 64;
  std::int64_t growth = 32;  // channels that each convolution of a dense block adds
  std::int64_t blocks = 23;
  std::int64_t doublings = 2;  // of the sides, behind the blocks
  std::int64_t unshuffle = 1;  // pixels of a side that are one with more channels before the blocks

  bool operator==(const RrdbNetConfig&) const = default;

  // How many times longer the sides become.
  std::int64_t scale() const { return (std::int64_t{1} << doublings) / unshuffle; }
  // Work for each pixel of the picture, multiply-adds counted twice: of a block, and of all behind the
  // blocks.
  double block_flops() const;
  double end_flops() const;
};

class DenseBlocks;

// Immutable once built; const methods from any thread. The picture is made in steps, so that nobody has to
// wait for all of it: begin, each block in turn, end.
class RrdbNet {
 public:
  // Reads the tensors under the names of Real-ESRGAN. Throws weights::LoadError.
  RrdbNet(const RrdbNetConfig& config, const weights::Scope& scope);
  ~RrdbNet();
  RrdbNet(RrdbNet&&) noexcept;

  const RrdbNetConfig& config() const { return config_; }

  // picture: [1, 3, H, W] in 0…1, H and W multiples of unshuffle. Returns [1, features, h, w] with
  // h = H / unshuffle.
  at::Tensor begin(const at::Tensor& picture) const;
  // x: [1, features, h, w] → the same.
  at::Tensor block(std::size_t index, const at::Tensor& x) const;
  // What begin() and the last block gave. Returns [1, 3, scale * H, scale * W] in float32, about 0…1, not
  // clamped.
  at::Tensor end(const at::Tensor& first, const at::Tensor& x) const;

 private:
  RrdbNetConfig config_;
  nn::Conv2d conv_first_;
  std::vector<DenseBlocks> body_;
  nn::Conv2d conv_body_;
  std::vector<nn::DoublingConv2d> conv_up_;
  nn::Conv2d conv_hr_;
  nn::Conv2d conv_last_;  // in float32, so that the picture has all of its 8 bits
};

}  // namespace diffused::models
