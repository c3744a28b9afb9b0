#include "samplers/threshold.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/quantile.h>

namespace diffused::samplers {

void read_threshold(Options& options, ThresholdConfig& config) {
  options.read("thresholding", config.thresholding);
  options.read("dynamic_thresholding_ratio", config.dynamic_thresholding_ratio);
  options.read("sample_max_value", config.sample_max_value);
  const double ratio = config.dynamic_thresholding_ratio;
  if (ratio < 0 || ratio > 1) options.refuse("dynamic_thresholding_ratio", "0 to 1");
}

at::Tensor threshold(const at::Tensor& clean, double ratio, double most) {
  const at::Tensor flat = clean.to(at::kFloat).flatten(1);  // [B, C * h * w]
  const at::Tensor limit = at::quantile(flat.abs(), ratio, 1).clamp(1, most).unsqueeze(1);
  return (at::minimum(at::maximum(flat, -limit), limit) / limit).view(clean.sizes()).to(clean.dtype());
}

at::Tensor thresholded(const ThresholdConfig& config, const at::Tensor& clean) {
  if (!config.thresholding) return clean;
  return threshold(clean, config.dynamic_thresholding_ratio, config.sample_max_value);
}

}  // namespace diffused::samplers
