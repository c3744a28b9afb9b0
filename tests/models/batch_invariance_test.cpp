// On the CPU a row of a batch equals the row alone, bit for bit, whatever the number of threads; the number
// of threads may change the bits, and so may the machine. Without this the picture of a request would depend
// on its neighbours.
#include <gtest/gtest.h>

#include "models/clip_text.h"
#include "models/flux_transformer.h"
#include "models/mmdit.h"
#include "models/t5.h"
#include "support/flux_weights.h"
#include "support/golden.h"
#include "support/mmdit_weights.h"
#include "support/rows.h"

namespace diffused::models {
namespace {

using test::expect_rows_independent;
using test::kRowsMax;

struct Shape {
  std::int64_t heads, head_dim, latent_h, latent_w, text_tokens;
};

void check_mmdit(const Shape& s, at::ScalarType dtype, bool repeats,
                 nn::LinearFormat format = nn::LinearFormat::plain) {
  const MmditConfig config{.in_channels = 8,
                           .num_layers = 2,
                           .attention_head_dim = s.head_dim,
                           .num_attention_heads = s.heads,
                           .joint_attention_dim = 96,
                           .pooled_projection_dim = 64,
                           .out_channels = 8,
                           .pos_embed_max_size = 32,
                           .block_format = format};
  const test::WrittenWeights weights(test::MmditWeights::random(config));
  const Mmdit mmdit(config, weights.scope(dtype));
  ASSERT_TRUE(weights.unused().empty());
  const at::Tensor latents = at::randn({kRowsMax, 8, s.latent_h, s.latent_w}).to(dtype);
  const at::Tensor text = at::randn({kRowsMax, s.text_tokens, 96}).to(dtype);
  const at::Tensor pooled = at::randn({kRowsMax, 64}).to(dtype);
  const at::Tensor timesteps = at::rand({kRowsMax}) * 1000;
  const at::Tensor counts = repeats ? at::arange(1, s.text_tokens + 1, at::kFloat) : at::Tensor();
  const auto forward = [&](std::int64_t row, std::int64_t rows) {
    const auto pick = [&](const at::Tensor& t) { return t.narrow(0, row, rows); };
    const MmditContext context{mmdit.embed_context(pick(text)), counts};
    return mmdit.forward(pick(latents), context, mmdit.modulations(pick(timesteps), pick(pooled)));
  };
  expect_rows_independent(forward,
                          "width " + std::to_string(config.inner_dim()) + ", " + at::toString(dtype));
}

TEST(BatchInvariance, HoldsForTheDenoiser) {
  // The demo model's shape; few tokens; odd sizes that leave remainders in every vector and every thread's
  // share.
  for (const Shape& shape : {Shape{3, 64, 16, 16, 78}, Shape{2, 16, 4, 4, 5}, Shape{3, 24, 10, 14, 77}}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) check_mmdit(shape, dtype, /*repeats=*/true);
  }
  check_mmdit({4, 64, 16, 24, 20}, at::kBFloat16, /*repeats=*/false);
}

TEST(BatchInvariance, HoldsForTheDenoiserInInt8) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    if (!nn::why_no_int8(dtype, at::kCPU).empty()) GTEST_SKIP() << nn::why_no_int8(dtype, at::kCPU);
    check_mmdit({3, 64, 16, 16, 78}, dtype, /*repeats=*/true, nn::LinearFormat::int8);
    check_mmdit({3, 24, 10, 14, 77}, dtype, /*repeats=*/false, nn::LinearFormat::int8);
  }
}

struct FluxShape {
  std::int64_t heads, head_dim;
  TokenGrid grid;
  std::int64_t text_tokens;
};

void check_flux(const FluxShape& s, at::ScalarType dtype, nn::LinearFormat format = nn::LinearFormat::plain) {
  const FluxTransformerConfig config{.in_channels = 16,
                                     .out_channels = 16,
                                     .num_layers = 1,
                                     .num_single_layers = 2,
                                     .attention_head_dim = s.head_dim,
                                     .num_attention_heads = s.heads,
                                     .joint_attention_dim = 96,
                                     .pooled_projection_dim = 64,
                                     .guidance_embeds = true,
                                     .axes_dims_rope = {0, s.head_dim / 2, s.head_dim / 2},
                                     .block_format = format};
  const test::WrittenWeights weights(test::FluxWeights::random(config));
  const FluxTransformer flux(config, weights.scope(dtype));
  ASSERT_TRUE(weights.unused().empty());
  const std::int64_t tokens = s.grid.rows * s.grid.columns;
  const at::Tensor image = at::randn({kRowsMax, tokens, 16}).to(dtype);
  const at::Tensor text = at::randn({kRowsMax, s.text_tokens, 96}).to(dtype);
  const at::Tensor pooled = at::randn({kRowsMax, 64}).to(dtype);
  const at::Tensor timesteps = at::rand({kRowsMax}).to(dtype), guidance = 5 * timesteps;
  const auto forward = [&](std::int64_t row, std::int64_t rows) {
    const auto pick = [&](const at::Tensor& t) { return t.narrow(0, row, rows); };
    const at::Tensor modulations =
        flux.modulations({.timesteps = pick(timesteps), .guidance = pick(guidance), .pooled = pick(pooled)});
    return flux.forward(pick(image), {s.grid}, flux.embed_context(pick(text)), modulations);
  };
  expect_rows_independent(forward,
                          "FLUX of width " + std::to_string(config.inner_dim()) + ", " + at::toString(dtype));
}

TEST(BatchInvariance, HoldsForFlux) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    check_flux({3, 64, {8, 8}, 78}, dtype);
    check_flux({2, 16, {2, 3}, 5}, dtype);
    check_flux({3, 24, {5, 7}, 77}, dtype);
    if (nn::why_no_int8(dtype, at::kCPU).empty())
      check_flux({3, 64, {8, 8}, 78}, dtype, nn::LinearFormat::int8);
  }
}

TEST(BatchInvariance, HoldsForTheTextEncoders) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const char* name : {"clip_l", "clip_g"}) {
      const test::Golden golden(name);
      const ClipText clip(ClipTextConfig::from_json(golden.config()).value(), golden.scope(dtype));
      const at::Tensor ids = at::randint(100, {kRowsMax, golden.in("ids").size(1)}, at::kLong);
      const auto pooled = [&](std::int64_t row, std::int64_t rows) {
        return clip.forward(ids.narrow(0, row, rows)).pooled;
      };
      const auto states = [&](std::int64_t row, std::int64_t rows) {
        return clip.forward(ids.narrow(0, row, rows)).penultimate();
      };
      expect_rows_independent(pooled, name);
      expect_rows_independent(states, name);
    }
    for (const char* name : {"t5_gated", "t5_relu"}) {
      const test::Golden golden(name);
      const T5Encoder t5(T5Config::from_json(golden.config()).value(), golden.scope(dtype));
      const at::Tensor ids = at::randint(100, {kRowsMax, 77}, at::kLong);
      expect_rows_independent(
          [&](std::int64_t row, std::int64_t rows) { return t5.forward(ids.narrow(0, row, rows)); }, name);
    }
  }
}

}  // namespace
}  // namespace diffused::models
