// After the paper, and the names of Real-ESRGAN's published files.
#include "models/rrdb_net.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

namespace diffused::models {
namespace {

constexpr std::int64_t kColours = 3;
constexpr int kDenseConvs = 5;     // of a dense block
constexpr int kDenseBlocks = 3;    // of a residual block
constexpr double kSlope = 0.2;     // of the rectifier below zero
constexpr double kResidual = 0.2;  // of what a block adds to its input

at::Tensor rectified(const at::Tensor& x) { return at::leaky_relu(x, kSlope); }

// Each convolution sees what all before it gave.
class DenseBlock {
 public:
  DenseBlock(const RrdbNetConfig& config, const weights::Scope& scope) {
    for (int i = 0; i < kDenseConvs; ++i) {
      const std::int64_t out = i + 1 < kDenseConvs ? config.growth : config.features;
      convs_.emplace_back(scope / fmt::format("conv{}", i + 1), config.features + i * config.growth, out, 3,
                          1, 1);
    }
  }

  at::Tensor operator()(const at::Tensor& x) const {  // [1, C, h, w] → the same
    at::Tensor all = x;
    for (int i = 0; i + 1 < kDenseConvs; ++i)
      all = at::cat({all, rectified(convs_[i](all))}, 1);  // [1, C + (i + 1) * growth, h, w]
    return x + convs_.back()(all) * kResidual;
  }

 private:
  std::vector<nn::Conv2d> convs_;
};

}  // namespace

class DenseBlocks {
 public:
  DenseBlocks(const RrdbNetConfig& config, const weights::Scope& scope) {
    for (int i = 1; i <= kDenseBlocks; ++i) blocks_.emplace_back(config, scope / fmt::format("rdb{}", i));
  }

  at::Tensor operator()(const at::Tensor& x) const {  // [1, C, h, w] → the same
    at::Tensor y = x;
    for (const DenseBlock& block : blocks_) y = block(y);
    return x + y * kResidual;
  }

 private:
  std::vector<DenseBlock> blocks_;
};

double RrdbNetConfig::block_flops() const {
  double channels = 0;
  for (int i = 0; i < kDenseConvs; ++i)
    channels += static_cast<double>(features + i * growth) * (i + 1 < kDenseConvs ? growth : features);
  return 2 * 9 * kDenseBlocks * channels / static_cast<double>(unshuffle * unshuffle);
}

double RrdbNetConfig::end_flops() const {
  const double square = static_cast<double>(features * features);
  double channels = square;  // the convolution behind the blocks
  for (std::int64_t i = 1; i <= doublings; ++i) channels += std::ldexp(square, 2 * static_cast<int>(i));
  channels += std::ldexp(square + static_cast<double>(kColours * features), 2 * static_cast<int>(doublings));
  return 2 * 9 * channels / static_cast<double>(unshuffle * unshuffle);
}

RrdbNet::RrdbNet(const RrdbNetConfig& config, const weights::Scope& scope)
    : config_(config),
      conv_first_(scope / "conv_first", kColours * config.unshuffle * config.unshuffle, config.features, 3, 1,
                  1),
      conv_body_(scope / "conv_body", config.features, config.features, 3, 1, 1),
      conv_hr_(scope / "conv_hr", config.features, config.features, 3, 1, 1),
      conv_last_((scope / "conv_last").with_dtype(at::kFloat), config.features, kColours, 3, 1, 1) {
  for (int i = 0; i < config.blocks; ++i) body_.emplace_back(config, scope / "body" / i);
  for (int i = 1; i <= config.doublings; ++i)
    conv_up_.emplace_back(scope / fmt::format("conv_up{}", i), config.features, config.features);
}

RrdbNet::~RrdbNet() = default;
RrdbNet::RrdbNet(RrdbNet&&) noexcept = default;

at::Tensor RrdbNet::begin(const at::Tensor& picture) const {
  return conv_first_(at::pixel_unshuffle(picture, config_.unshuffle));
}

at::Tensor RrdbNet::block(std::size_t index, const at::Tensor& x) const { return body_.at(index)(x); }

at::Tensor RrdbNet::end(const at::Tensor& first, const at::Tensor& x) const {
  at::Tensor y = first + conv_body_(x);                                          // [1, C, h, w]
  for (const nn::DoublingConv2d& doubled : conv_up_) y = rectified(doubled(y));  // [1, C, 2h, 2w] each time
  return conv_last_(rectified(conv_hr_(y)).to(at::kFloat));  // [1, 3, scale * H, scale * W]
}

}  // namespace diffused::models
