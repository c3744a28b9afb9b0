#include "nn/feed_forward.h"

namespace diffused::nn {

FeedForward::FeedForward(const weights::Scope& scope, std::int64_t size, LinearFormat format)
    : proj_in_(scope / "net.0.proj", size, 4 * size, /*bias=*/true, format),
      proj_out_(scope / "net.2", 4 * size, size, /*bias=*/true, format) {}

at::Tensor FeedForward::add_to(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& gate) const {
  return proj_out_.add_to(sum, proj_in_(x, Activation::gelu_tanh), gate);
}

}  // namespace diffused::nn
