// Each CPU kernel beside ATen's, in one process and in turns: ./dev bench kernels [threads] [rounds] [part of
// a name]
//
// Columns: the median time of ours, its rate, ATen's rate, the median and range of the ratio of the two times
// in the same round (above 1: ours is faster), and our share of the peak, measured in that round, of what the
// machine multiplies with. Linears in bytes stand beside ATen's in bfloat16.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "kernels/attention_avx512.h"
#include "kernels/conv_avx512.h"
#include "kernels/group_norm_avx512.h"
#include "kernels/linear_avx512.h"
#include "kernels/peak.h"
#include "kernels/processor.h"
#include "kernels/quantized_linear_avx512.h"
#include "kernels/tokens_avx512.h"

namespace {

namespace kernels = diffused::kernels;

struct Contest {
  std::string name;
  at::ScalarType dtype;  // of what is multiplied
  double work;           // floating-point operations, or bytes that must move
  bool compute_bound;
  std::function<at::Tensor()> ours, aten;
};

double seconds_of(const std::function<at::Tensor()>& function) {
  const auto begin = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// False when the two do not compute the same.
bool run(const Contest& contest, int rounds) {
  const at::Tensor y = contest.ours().to(at::kDouble), expected = contest.aten().to(at::kDouble);
  const double difference = ((y - expected).norm() / expected.norm()).item<double>();
  std::vector<double> ours, aten, ratios, shares;
  for (int round = 0; round < rounds; ++round) {
    const double peak = kernels::measure_peak_flops(kernels::multiplier_of(contest.dtype), 0.02);
    ours.push_back(seconds_of(contest.ours));
    aten.push_back(seconds_of(contest.aten));
    ratios.push_back(aten.back() / ours.back());
    shares.push_back(contest.work / ours.back() / peak);
  }
  const auto [slowest, fastest] = std::ranges::minmax(ratios);
  std::printf("%-36s %8.2f ms %8.1f %8.1f  %5.2f (%.2f to %.2f)", contest.name.c_str(), 1e3 * median(ours),
              1e-9 * contest.work / median(ours), 1e-9 * contest.work / median(aten), median(ratios), slowest,
              fastest);
  if (contest.compute_bound) std::printf("  %3.0f %%", 100 * median(shares));
  std::printf("\n");
  if (difference < (contest.dtype == at::kByte ? 0.03 : 0.02)) return true;
  std::printf("  the results differ by %.3f\n", difference);
  return false;
}

Contest attention(std::int64_t tokens, std::int64_t head_dim, at::ScalarType dtype) {
  const std::int64_t batch = 2, heads = 1536 / head_dim;
  const at::Tensor qkv = at::randn({batch, tokens, 3, heads, head_dim}, dtype);
  const auto part = [qkv](int i) { return qkv.select(2, i).transpose(1, 2); };  // [B, H, L, D]
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  return {"attention L " + std::to_string(tokens) + " D " + std::to_string(head_dim),
          dtype,
          4.0 * batch * heads * tokens * tokens * head_dim,
          true,
          [=] { return kernels::attention(part(0), part(1), part(2), scale, {}); },
          [=] { return at::scaled_dot_product_attention(part(0), part(1), part(2)); }};
}

// Of `Linear`, kernels::PackedLinear or another that is made of weight and bias.
template <typename Linear>
Contest linear(std::int64_t rows, std::int64_t in, std::int64_t out, bool gelu, at::ScalarType dtype,
               at::ScalarType multiplied) {
  const at::Tensor x = at::randn({rows, in}, dtype), bias = at::randn({out}, dtype);
  const at::Tensor weight = (at::randn({out, in}) / std::sqrt(static_cast<double>(in))).to(dtype);
  const Linear packed(weight, bias);
  const auto function = gelu ? std::optional(kernels::Activation::gelu_tanh) : std::nullopt;
  return {"linear " + std::to_string(rows) + " x " + std::to_string(in) + " x " + std::to_string(out) +
              (gelu ? " gelu" : "") + (multiplied == at::kByte ? " int8" : ""),
          multiplied,
          2.0 * rows * in * out,
          true,
          [=] { return packed(x, {.activation = function}); },
          [=] {
            const at::Tensor y = at::linear(x, weight, bias);
            return gelu ? at::gelu(y, "tanh") : y;
          }};
}

template <typename Linear>
void add_linears(std::vector<Contest>& all, at::ScalarType dtype, at::ScalarType multiplied) {
  const auto add = [&](std::int64_t rows, std::int64_t in, std::int64_t out, bool gelu) {
    all.push_back(linear<Linear>(rows, in, out, gelu, dtype, multiplied));
  };
  add(2714, 1536, 4608, false);
  add(2714, 1536, 6144, true);
  add(2714, 6144, 1536, false);
  add(1178, 1536, 4608, false);
  add(512, 1536, 1536, false);
  add(156, 1536, 4608, false);
  add(28, 1536, 9216, false);
}

// A convolution of the autoencoder's decoder.
Contest conv(std::int64_t in, std::int64_t out, std::int64_t side, at::ScalarType dtype) {
  const at::Tensor x = at::randn({1, in, side, side}, dtype).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor bias = at::randn({out}, dtype);
  const at::Tensor weight = (at::randn({out, in, 3, 3}) / std::sqrt(9.0 * static_cast<double>(in)))
                                .to(dtype)
                                .contiguous(at::MemoryFormat::ChannelsLast);
  const kernels::PackedConv packed(weight, bias, kernels::Doubling::none);
  return {"conv " + std::to_string(in) + " to " + std::to_string(out) + " @ " + std::to_string(side),
          dtype,
          2.0 * 9 * static_cast<double>(in * out * side * side),
          true,
          [=] { return packed(x, {}); },
          [=] { return at::conv2d(x, weight, bias, 1, 1); }};
}

std::vector<Contest> token_contests(at::ScalarType dtype) {
  const at::Tensor x = at::randn({2, 1357, 1536}, dtype), y = at::randn({2, 1357, 1536}, dtype);
  const at::Tensor shift = at::randn({2, 1536}, dtype), scale = at::randn({2, 1536}, dtype);
  const at::Tensor q = at::randn({2, 1357, 3, 24, 64}, dtype).select(2, 0).transpose(1, 2);
  const at::Tensor weight = at::randn({64}, dtype);
  const double bytes = static_cast<double>(x.nbytes());
  return {{"layer norm, modulated", dtype, 2 * bytes, false,
           [=] { return kernels::modulated_layer_norm(x, shift, scale, 1e-6); },
           [=] {
             return at::layer_norm(x, {1536}, {}, {}, 1e-6) * (1 + scale).unsqueeze(1) + shift.unsqueeze(1);
           }},
          {"gated addition", dtype, 3 * bytes, false, [=] { return kernels::add_gated(x, shift, y); },
           [=] { return x + shift.unsqueeze(1) * y; }},
          {"RMS norm of heads", dtype, 2 * bytes, false, [=] { return kernels::rms_norm(q, weight, 1e-6); },
           [=] {
             const at::Tensor factor = at::rsqrt(q.to(at::kFloat).square().mean(-1, true) + 1e-6);
             return (q * factor).to(q.scalar_type()) * weight;
           }}};
}

Contest group_norm(std::int64_t channels, std::int64_t side, at::ScalarType dtype) {
  const at::Tensor x = at::randn({1, channels, side, side}, dtype).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor weight = at::randn({channels}, dtype), bias = at::randn({channels}, dtype);
  return {"group norm + SiLU " + std::to_string(channels) + " @ " + std::to_string(side),
          dtype,
          3.0 * x.nbytes(),
          false,
          [=] { return kernels::group_norm(x, weight, bias, {.groups = 32, .eps = 1e-6, .silu = true}); },
          [=] { return at::silu(at::group_norm(x, 32, weight, bias, 1e-6)); }};
}

std::vector<Contest> contests(at::ScalarType dtype) {
  std::vector<Contest> all;
  for (const std::int64_t tokens : {333, 589, 1357, 4429}) all.push_back(attention(tokens, 64, dtype));
  all.push_back(attention(1357, 128, dtype));
  add_linears<kernels::PackedLinear>(all, dtype, dtype);
  if (dtype == at::kBFloat16 && kernels::has_avx512_vnni()) {
    add_linears<kernels::QuantizedLinear>(all, dtype, at::kByte);
  }
  all.push_back(conv(512, 512, 64, dtype));
  all.push_back(conv(512, 512, 128, dtype));
  all.push_back(conv(256, 256, 256, dtype));
  all.push_back(conv(128, 128, 512, dtype));
  std::ranges::copy(token_contests(dtype), std::back_inserter(all));
  all.push_back(group_norm(512, 64, dtype));
  all.push_back(group_norm(256, 512, dtype));
  all.push_back(group_norm(128, 512, dtype));
  return all;
}

// Says what the machine multiplies with, and whether its threads have that for themselves.
void print_peaks() {
  const int threads = at::get_num_threads();
  for (const kernels::Multiplier multiplier : kernels::multipliers()) {
    at::set_num_threads(1);
    const double one = kernels::measure_peak_flops(multiplier, 0.1);
    at::set_num_threads(threads);
    const double all = kernels::measure_peak_flops(multiplier, 0.1);
    std::printf(
        "peak of %-16s %8.0f GF/s on one thread, %8.0f on %d%s\n",
        std::string(kernels::name_of(multiplier)).c_str(), 1e-9 * one, 1e-9 * all, threads,
        threads > 1 && all < 0.7 * threads * one ? ": threads share a core's, or others work here" : "");
  }
}

}  // namespace

int main(int count, char** arguments) {
  setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0);  // as the program does
  if (count > 1) at::set_num_threads(std::atoi(arguments[1]));
  const int rounds = count > 2 ? std::atoi(arguments[2]) : 7;
  const std::string wanted = count > 3 ? arguments[3] : "";
  print_peaks();
  bool agree = true;
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    if (!kernels::has_avx512_for(dtype)) {
      std::printf("%s: this processor lacks the instructions\n", at::toString(dtype));
      continue;
    }
    std::printf("%s, %d threads; rates in GF/s, or GB/s for what memory limits\n", at::toString(dtype),
                at::get_num_threads());
    std::printf("%-36s %11s %8s %8s  %s\n", "", "ours", "ours", "ATen", "ratio (range), share of peak");
    for (const Contest& contest : contests(dtype)) {
      if (contest.name.find(wanted) != std::string::npos) agree &= run(contest, rounds);
    }
  }
  return agree ? 0 : 1;
}
