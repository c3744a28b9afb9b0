#include "kernels/self_test.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/log.h"
#include "kernels/attention_avx512.h"
#include "kernels/conv_avx512.h"
#include "kernels/group_norm_avx512.h"
#include "kernels/linear_avx512.h"
#include "kernels/processor.h"
#include "kernels/quantized_linear_avx512.h"
#include "kernels/tokens_avx512.h"

namespace diffused::kernels {
namespace {

double relative_error(const at::Tensor& x, const at::Tensor& expected) {
  return ((x.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

// Numbers without a random generator, between -1 and 1.
at::Tensor waves(at::IntArrayRef shape, double frequency, at::ScalarType dtype) {
  return (at::arange(c10::multiply_integers(shape), at::kDouble) * frequency).sin().to(dtype).view(shape);
}

at::Tensor exact(const at::Tensor& x) { return x.to(at::kDouble); }

// rotate() by its formula: each pair as a complex number, times e^(i angle).
at::Tensor rotate_exactly(const at::Tensor& x, const Rotation& rotation) {
  const auto pairs = [](const at::Tensor& t) { return t.unflatten(-1, {-1, 2}).contiguous(); };
  const at::Tensor turn =
      at::stack({pairs(rotation.cos).select(-1, 0), pairs(rotation.sin).select(-1, 1)}, -1);
  return at::view_as_real(at::view_as_complex(pairs(x)) * at::view_as_complex(exact(turn))).flatten(-2);
}

}  // namespace

std::vector<KernelCheck> check_kernels(at::ScalarType dtype) {
  if (!has_avx512_for(dtype)) return {};
  // A few roundings to the type; a kernel that is wrong is wrong by far more.
  const double error_max = dtype == at::kFloat ? 1e-5 : 2e-2;
  std::vector<KernelCheck> checks;
  const auto compare = [&](std::string_view kernel, const at::Tensor& y, const at::Tensor& expected) {
    checks.push_back({kernel, relative_error(y, expected), error_max});
  };

  const at::Tensor q = waves({1, 2, 7, 64}, 0.7, dtype), k = waves({1, 2, 70, 64}, 1.3, dtype);
  const at::Tensor v = waves({1, 2, 70, 64}, 2.1, dtype) + 1, bias = waves({70}, 0.9, at::kFloat);
  const at::Tensor scores = at::matmul(exact(q), exact(k).transpose(-1, -2)) * 0.125 + exact(bias);
  compare("attention", attention(q, k, v, 0.125, bias), at::matmul(scores.softmax(-1), exact(v)));

  const at::Tensor x = waves({2, 9, 96}, 0.37, dtype), weight = waves({70, 96}, 1.7, dtype);
  const at::Tensor vector = waves({2, 96}, 0.21, dtype), y = waves({2, 9, 96}, 0.11, dtype);
  const PackedLinear linear(weight, {});
  const at::Tensor product = at::linear(exact(x), exact(weight));
  compare("linear", linear(x, {.activation = Activation::gelu_tanh}), at::gelu(product, "tanh"));
  const at::Tensor gate = waves({2, 70}, 0.23, dtype), added = waves({2, 9, 70}, 0.31, dtype);
  compare("linear_added", linear(x, {.activation = Activation::gelu, .gate = gate, .added = added}),
          at::gelu(product) * exact(gate).unsqueeze(1) + exact(added));
  const at::Tensor pairs = waves({64, 96}, 1.7, dtype);
  const auto value_gate = at::linear(exact(x), exact(pairs)).chunk(2, -1);
  compare("linear_pairs", PackedLinear(pairs, {}).pairs(x, Activation::gelu),
          value_gate[0] * at::gelu(value_gate[1]));
  if (has_avx512_vnni()) {
    // Whole numbers that fill their range become bytes without an error.
    const at::Tensor whole_weight = (waves({70, 96}, 1.7, at::kFloat) * 127).round().to(dtype);
    const at::Tensor whole_x = (waves({2, 9, 96}, 0.37, at::kFloat) * 100).round().to(dtype);
    whole_weight.select(1, 0).fill_(127);
    whole_x.select(2, 0).fill_(-100);
    whole_x.select(2, 1).fill_(155);
    compare("quantized_linear", QuantizedLinear(whole_weight, {})(whole_x),
            at::linear(exact(whole_x), exact(whole_weight)));
  }
  const at::Tensor normal = at::layer_norm(exact(x), {96}, {}, {}, 1e-6);
  compare("modulated_layer_norm", modulated_layer_norm(x, vector, vector, 1e-6),
          normal * (1 + exact(vector).unsqueeze(1)) + exact(vector).unsqueeze(1));
  compare("layer_norm", layer_norm(x, vector[0], vector[1], 1e-6),
          normal * exact(vector[0]) + exact(vector[1]));
  compare("add_gated", add_gated(x, vector, y), exact(x) + exact(vector).unsqueeze(1) * exact(y));
  compare("rms_norm", rms_norm(x, vector[0], 1e-6),
          exact(x) * at::rsqrt(exact(x).square().mean(-1, true) + 1e-6) * exact(vector[0]));
  const Rotation rotation = rotation_by(waves({7, 32}, 3.1, at::kDouble) * 50);
  const at::Tensor weight64 = waves({64}, 0.21, dtype) + 1;
  const at::Tensor root = at::rsqrt(exact(q).square().mean(-1, true) + 1e-6);
  compare("rms_norm_rotated", rms_norm_rotated(q, weight64, 1e-6, rotation),
          rotate_exactly(exact(q) * root * exact(weight64), rotation));

  const at::Tensor image = waves({1, 32, 5, 5}, 0.61, dtype).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor channel = waves({32}, 0.4, dtype);
  compare("group_norm", group_norm(image, channel, channel, {.groups = 8, .eps = 1e-6, .silu = true}),
          at::silu(at::group_norm(exact(image), 8, exact(channel), exact(channel), 1e-6)));
  const at::Tensor kernel = waves({24, 32, 3, 3}, 1.9, dtype), bias24 = waves({24}, 0.3, dtype);
  const ConvOptions options{.silu_of = group_scaling(image, channel, channel, /*groups=*/8, 1e-6),
                            .shift = bias24.unsqueeze(0),
                            .added = {}};
  const at::Tensor silu =
      at::silu(at::group_norm(exact(image), 8, exact(channel), exact(channel), 1e-6)).to(dtype);
  compare("conv", PackedConv(kernel, bias24, Doubling::none)(image, options),
          at::conv2d(exact(silu), exact(kernel), 2 * exact(bias24), 1, 1));
  compare("doubling_conv", PackedConv(kernel, bias24, Doubling::nearest)(image, {}),
          at::conv2d(at::upsample_nearest2d(exact(image), {10, 10}), exact(kernel), exact(bias24), 1, 1));
  return checks;
}

bool all_agree(std::span<const KernelCheck> checks) {
  bool agree = true;
  for (const KernelCheck& check : checks) {
    if (check.error <= check.error_max) continue;
    agree = false;
    log(LogLevel::warning, "kernel_disabled",
        {{"kernel", check.kernel}, {"error", check.error}, {"error_max", check.error_max}});
  }
  return agree;
}

bool agree(at::ScalarType dtype) {
  if (dtype == at::kFloat) {
    static const bool float32_agrees = all_agree(check_kernels(at::kFloat));
    return float32_agrees;
  }
  if (dtype == at::kBFloat16) {
    static const bool bfloat16_agrees = all_agree(check_kernels(at::kBFloat16));
    return bfloat16_agrees;
  }
  return false;
}

}  // namespace diffused::kernels
