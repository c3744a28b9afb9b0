// EasyCache (Zhou et al. 2025, arXiv 2507.02860): what the network would say, foretold from its earlier
// answers.
//
// Between the calls that are made, the network's answer is taken to be its input plus what it last added:
//   v(t) = x(t) + (v(c) - x(c)), c the latest call that was made.
// How wrong that is grows with the input. With k, how much more the answer changed than the input did between
// the latest two calls that were made, each call adds
//   k · mean|x(t) - x(t - 1)| / mean|v(c)|
// to the error, and the first call with which it reaches the threshold is made; there it begins at 0 again.
// With classifier-free guidance the positive prompt's answers tell the error.
//
// Only inputs and answers of one picture are looked at, so it fits any network, and a picture's steps depend
// on nobody else's.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace diffused::samplers {

// What is remembered of one picture's calls: a value whose tensors are never changed. Empty before the first
// call.
struct EasyCache {
  at::Tensor input;  // of the latest call, made or skipped; all float32
  // Of the latest that was made: its input, its answer, and what the sampler was given less the input.
  at::Tensor made_input, made_answer, added;
  at::ScalarType dtype = at::kFloat;  // of what the sampler is given
  std::optional<double> rate = {};    // k
  double error = 0;
};

// After a call that was made. `answer`: the positive prompt's; `guided`: what the sampler was given. Equal
// shapes, any float dtype.
EasyCache after_call(const EasyCache& before, const at::Tensor& input, const at::Tensor& answer,
                     const at::Tensor& guided);

struct SkippedCall {
  EasyCache after;
  at::Tensor guided;  // for the sampler
};

// The call with this input as it is foretold; nothing when it is to be made: the error would reach
// `threshold`, or fewer than two calls were made.
std::optional<SkippedCall> skipped_call(const EasyCache& before, const at::Tensor& input, double threshold);

}  // namespace diffused::samplers
