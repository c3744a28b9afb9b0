#include "samplers/easy_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mean.h>

namespace diffused::samplers {
namespace {

double mean_size(const at::Tensor& x) { return x.abs().mean().item<double>(); }

}  // namespace

EasyCache after_call(const EasyCache& before, const at::Tensor& input, const at::Tensor& answer,
                     const at::Tensor& guided) {
  EasyCache after;
  after.input = after.made_input = input.to(at::kFloat);
  after.made_answer = answer.to(at::kFloat);
  after.added = guided.to(at::kFloat) - after.input;
  after.dtype = guided.scalar_type();
  if (before.made_input.defined())
    after.rate =
        mean_size(after.made_answer - before.made_answer) / mean_size(after.made_input - before.made_input);
  return after;
}

std::optional<SkippedCall> skipped_call(const EasyCache& before, const at::Tensor& input, double threshold) {
  if (!before.rate) return std::nullopt;
  const at::Tensor x = input.to(at::kFloat);
  const double change = mean_size(x - before.input) / mean_size(before.made_answer);
  const double error = before.error + *before.rate * change;
  // Not the other way round: where there is nothing to divide by, the call is made.
  if (!(error < threshold)) return std::nullopt;
  SkippedCall skipped{.after = before, .guided = (x + before.added).to(before.dtype)};
  skipped.after.input = x;
  skipped.after.error = error;
  return skipped;
}

}  // namespace diffused::samplers
