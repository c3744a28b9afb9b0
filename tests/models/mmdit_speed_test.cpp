// A measurement, left out of the suite:
//   build/release/models_test --gtest_also_run_disabled_tests --gtest_filter='*Speed*'
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "models/mmdit.h"
#include "support/golden.h"
#include "support/mmdit_weights.h"

namespace diffused::models {
namespace {

double run_ms(const std::function<void()>& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

// One forward of the demo model's shape: 256 zero tokens after the text as they are, and as one token with
// repeats. The two take turns, so that what else the machine does falls on both.
TEST(MmditSpeed, DISABLED_OneTokenForManyEqualOnes) {
  constexpr int kRounds = 15;
  constexpr std::int64_t kTextTokens = 77, kZeroTokens = 256;
  const MmditConfig config{.num_layers = 6,
                           .num_attention_heads = 3,
                           .joint_attention_dim = 256,
                           .pooled_projection_dim = 256,
                           .pos_embed_max_size = 32};
  const test::WrittenWeights weights(test::MmditWeights::random(config));
  at::Tensor repeats = at::ones({kTextTokens + 1});
  repeats[-1] = kZeroTokens;
  fmt::print(
      "dtype     batch  333 tokens ms  78 tokens ms  ratio of medians (of single rounds)  threads {}\n",
      at::get_num_threads());
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Mmdit mmdit(config, weights.scope(dtype));
    for (const std::int64_t batch : {1, 2, 4, 8}) {
      const at::Tensor latents = at::randn({batch, 16, 16, 16}).to(dtype);
      const at::Tensor text = at::randn({batch, kTextTokens, 256}).to(dtype);
      const at::Tensor modulations =
          mmdit.modulations(at::full({batch}, 500.0f), at::randn({batch, 256}).to(dtype));
      const MmditContext plain{mmdit.embed_context(at::constant_pad_nd(text, {0, 0, 0, kZeroTokens})), {}};
      const MmditContext folded{mmdit.embed_context(at::constant_pad_nd(text, {0, 0, 0, 1})), repeats};
      EXPECT_LE(test::relative_error(mmdit.forward(latents, folded, modulations),
                                     mmdit.forward(latents, plain, modulations)),
                dtype == at::kFloat ? test::kGoldenTolerance : 0.04);
      std::array<std::vector<double>, 3> times;  // plain, folded, plain / folded
      for (int round = 0; round < kRounds; ++round) {
        times[0].push_back(run_ms([&] { mmdit.forward(latents, plain, modulations); }));
        times[1].push_back(run_ms([&] { mmdit.forward(latents, folded, modulations); }));
        times[2].push_back(times[0].back() / times[1].back());
      }
      for (auto& series : times) std::ranges::sort(series);
      const auto median = [&](int which) { return times[which][kRounds / 2]; };
      fmt::print("{:9} {:5}  {:13.2f}  {:12.2f}  {:.2f} ({:.2f} to {:.2f})\n", at::toString(dtype), batch,
                 median(0), median(1), median(0) / median(1), times[2].front(), times[2].back());
    }
  }
}

}  // namespace
}  // namespace diffused::models
