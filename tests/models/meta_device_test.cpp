// Every network once on the `meta` device, which has shapes and no values: a tensor that was made on another
// device is an error there. What holds here holds on a GPU, without one.
#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>
#include <ATen/core/stack.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include "models/autoencoder_kl.h"
#include "models/autoencoder_kl_flux2.h"
#include "models/autoencoder_kl_qwen_image.h"
#include "models/clip_text.h"
#include "models/flux2_transformer.h"
#include "models/flux_transformer.h"
#include "models/mmdit.h"
#include "models/qwen3.h"
#include "models/qwen_image_transformer.h"
#include "models/rrdb_net.h"
#include "models/t5.h"
#include "models/unet_2d_condition.h"
#include "models/z_image_transformer.h"
#include "support/golden.h"
#include "support/tiny_upscaler.h"
#include "support/token_grids.h"

namespace diffused::models {
namespace {

// What these operators give on the meta device is known to torch in Python alone.
at::Tensor index_select_on_meta(const at::Tensor& x, std::int64_t dim, const at::Tensor& index) {
  TORCH_CHECK(index.is_meta(), "an index on another device");
  auto sizes = x.sizes().vec();
  sizes[static_cast<std::size_t>(dim)] = index.numel();
  return x.new_empty(sizes);
}

at::Tensor& abs_on_meta(const at::Tensor& x, at::Tensor& out) {
  out.resize_(x.sizes());
  return out;
}

at::Tensor where_on_meta(const at::Tensor& condition, const at::Tensor& one, const at::Tensor& other) {
  for (const at::Tensor& given : {condition, one, other})
    TORCH_CHECK(given.is_meta() || given.dim() == 0, "a tensor on another device");
  const auto sizes = at::infer_size(condition.sizes(), at::infer_size(one.sizes(), other.sizes()));
  return condition.new_empty(sizes, at::result_type(one, other));
}

at::Tensor& where_out_on_meta(const at::Tensor& condition, const at::Tensor& one, const at::Tensor& other,
                              at::Tensor& out) {
  out.resize_(where_on_meta(condition, one, other).sizes());
  return out;
}

at::Tensor flip_on_meta(const at::Tensor& x, at::IntArrayRef) { return at::empty_like(x); }

at::Tensor relu_on_meta(const at::Tensor& x) { return at::empty_like(x); }

std::tuple<at::Tensor, at::Tensor> var_mean_on_meta(const at::Tensor& x, at::OptionalIntArrayRef dims,
                                                    const std::optional<at::Scalar>&, bool keepdim) {
  const at::Tensor reduced = x.sum(dims, keepdim);
  return {at::empty_like(reduced), at::empty_like(reduced)};
}

// Takes the operator's arguments off the stack; those that are tensors must be on the meta device.
std::vector<c10::IValue> take_arguments(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  std::vector<c10::IValue> arguments = torch::jit::pop(*stack, op.schema().arguments().size());
  for (const c10::IValue& argument : arguments)
    TORCH_CHECK(!argument.isTensor() || argument.toTensor().is_meta(), "a tensor on another device");
  return arguments;
}

void batch_norm_on_meta(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const at::Tensor x = take_arguments(op, stack)[0].toTensor();
  const at::Tensor statistics = x.new_empty({x.size(1)});
  torch::jit::push(*stack, at::empty_like(x), statistics, statistics);
}

void convolution_on_meta(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto arguments = take_arguments(op, stack);
  const at::Tensor x = arguments[0].toTensor(), weight = arguments[1].toTensor();
  const auto stride = arguments[3].toIntVector(), padding = arguments[4].toIntVector(),
             dilation = arguments[5].toIntVector();
  std::vector<std::int64_t> sizes = {x.size(0), weight.size(0)};
  for (std::size_t i = 0; i < 2; ++i) {
    const auto dim = static_cast<std::int64_t>(i) + 2;
    const std::int64_t reach = dilation[i] * (weight.size(dim) - 1) + 1;
    sizes.push_back((x.size(dim) + 2 * padding[i] - reach) / stride[i] + 1);
  }
  torch::jit::push(*stack, x.new_empty(sizes));
}

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("index_select", TORCH_FN(index_select_on_meta));
  library.impl("abs.out", TORCH_FN(abs_on_meta));
  library.impl("where.self", TORCH_FN(where_on_meta));
  library.impl("where.self_out", TORCH_FN(where_out_on_meta));
  library.impl("flip", TORCH_FN(flip_on_meta));
  library.impl("relu", TORCH_FN(relu_on_meta));
  library.impl("var_mean.correction", TORCH_FN(var_mean_on_meta));
  library.impl("native_batch_norm", torch::CppFunction::makeFromBoxedFunction<&batch_norm_on_meta>());
  library.impl("convolution_overrideable", torch::CppFunction::makeFromBoxedFunction<&convolution_on_meta>());
}

using test::Golden;

constexpr auto kDtype = at::kBFloat16;

class OnMeta : public ::testing::TestWithParam<const char*> {
 protected:
  template <typename Network, typename Config>
  Network load() const {
    return Network(Config::from_json(golden.config()).value(), golden.scope(kDtype, at::kMeta));
  }
  // In the dtype that a pipeline has it in.
  at::Tensor in(const char* name) const {
    const at::Tensor tensor = golden.in(name).to(at::kMeta);
    return std::string_view(name) == "ids" || std::string_view(name) == "timesteps" ||
                   std::string_view(name) == "guidance"
               ? tensor
               : tensor.to(kDtype);
  }
  static void expect_like(const at::Tensor& result, const at::Tensor& expected) {
    EXPECT_TRUE(result.is_meta());
    EXPECT_EQ(result.sizes(), expected.sizes());
  }

  const Golden golden{GetParam()};
};

using ClipOnMeta = OnMeta;
TEST_P(ClipOnMeta, Runs) {
  const auto clip = load<ClipText, ClipTextConfig>();
  expect_like(clip.forward(in("ids")).pooled, golden.out("pooled"));
}
INSTANTIATE_TEST_SUITE_P(Cases, ClipOnMeta, ::testing::Values("clip_g", "clip_l", "clip_plain"));

using T5OnMeta = OnMeta;
TEST_P(T5OnMeta, Runs) {
  const auto t5 = load<T5Encoder, T5Config>();
  expect_like(t5.forward(in("ids")), golden.out("last_hidden_state"));
}
INSTANTIATE_TEST_SUITE_P(Cases, T5OnMeta, ::testing::Values("t5_gated", "t5_relu"));

using Qwen3OnMeta = OnMeta;
TEST_P(Qwen3OnMeta, Runs) {
  auto config = Qwen3Config::from_json(golden.config()).value();
  config.taps = {1, 2};
  const Qwen3 qwen3(config, golden.scope(kDtype, at::kMeta));
  for (const std::int64_t real : {23, 32}) {
    const at::Tensor states = qwen3.forward(in("ids"), real);
    EXPECT_TRUE(states.is_meta());
    EXPECT_EQ(states.sizes(), (std::vector<std::int64_t>{1, 32, config.state_size()}));
  }
}
INSTANTIATE_TEST_SUITE_P(Cases, Qwen3OnMeta, ::testing::Values("qwen3_grouped", "qwen3_causal"));

using MmditOnMeta = OnMeta;
TEST_P(MmditOnMeta, Runs) {
  const auto mmdit = load<Mmdit, MmditConfig>();
  const at::Tensor context = mmdit.embed_context(in("text"));
  const at::Tensor modulations = mmdit.modulations(in("timesteps"), in("pooled"));
  expect_like(mmdit.forward(in("latents"), {context, {}}, modulations), golden.out("velocity"));
}
INSTANTIATE_TEST_SUITE_P(Cases, MmditOnMeta,
                         ::testing::Values("mmdit_sd3", "mmdit_sd35_large", "mmdit_sd35_medium",
                                           "mmdit_patch_one"));

using FluxOnMeta = OnMeta;
TEST_P(FluxOnMeta, Runs) {
  const auto flux = load<FluxTransformer, FluxTransformerConfig>();
  const at::Tensor grid = golden.in("grid").to(at::kLong);
  const at::Tensor guidance = flux.config().guidance_embeds ? in("guidance") : at::Tensor();
  const at::Tensor modulations =
      flux.modulations({.timesteps = in("timesteps"), .guidance = guidance, .pooled = in("pooled")});
  const at::Tensor velocity =
      flux.forward(in("image"), {{grid[0].item<std::int64_t>(), grid[1].item<std::int64_t>()}},
                   flux.embed_context(in("text")), modulations);
  expect_like(velocity, golden.out("velocity"));
}
INSTANTIATE_TEST_SUITE_P(Cases, FluxOnMeta,
                         ::testing::Values("flux_dev", "flux_schnell", "flux_double_only",
                                           "flux_single_only"));

using Flux2OnMeta = OnMeta;
TEST_P(Flux2OnMeta, Runs) {
  const auto flux2 = load<Flux2Transformer, Flux2TransformerConfig>();
  const at::Tensor guidance = flux2.config().guidance_embeds ? in("guidance").to(kDtype) : at::Tensor();
  const at::Tensor modulations = flux2.modulations(in("timesteps").to(kDtype), guidance);
  expect_like(
      flux2.forward(in("image"), test::grids_of(golden), flux2.embed_context(in("text")), modulations),
      golden.out("velocity"));
}
INSTANTIATE_TEST_SUITE_P(Cases, Flux2OnMeta,
                         ::testing::Values("flux2_klein", "flux2_references", "flux2_dev"));

using ZImageOnMeta = OnMeta;
TEST_P(ZImageOnMeta, Runs) {
  const auto z_image = load<ZImageTransformer, ZImageTransformerConfig>();
  expect_like(
      z_image.forward(in("latents"), z_image.embed_context(in("text")), z_image.modulations(in("timesteps"))),
      golden.out("velocity"));
}
INSTANTIATE_TEST_SUITE_P(Cases, ZImageOnMeta, ::testing::Values("z_image", "z_image_whole", "z_image_far"));

using QwenImageOnMeta = OnMeta;
TEST_P(QwenImageOnMeta, Runs) {
  const auto network = load<QwenImageTransformer, QwenImageTransformerConfig>();
  expect_like(network.forward(in("image"), test::grids_of(golden), network.embed_context(in("text")),
                              network.modulations(in("timesteps").to(kDtype))),
              golden.out("velocity"));
}
INSTANTIATE_TEST_SUITE_P(Cases, QwenImageOnMeta, ::testing::Values("qwen_image", "qwen_image_references"));

using UnetOnMeta = OnMeta;
TEST_P(UnetOnMeta, Runs) {
  const auto unet = load<Unet2DCondition, Unet2DConditionConfig>();
  UnetConditioning conditioning{.timesteps = in("timesteps"), .guidance = {}, .pooled = {}, .time_ids = {}};
  if (unet.config().time_cond_proj_dim > 0) conditioning.guidance = in("guidance");
  if (unet.config().text_time) {
    conditioning.pooled = in("pooled");
    conditioning.time_ids = golden.in("time_ids").to(at::kMeta);
  }
  expect_like(unet.forward(in("latents"), unet.embed_context(in("text")), unet.modulations(conditioning)),
              golden.out("noise"));
}
INSTANTIATE_TEST_SUITE_P(Cases, UnetOnMeta,
                         ::testing::Values("unet_sd1", "unet_odd_size", "unet_xl", "unet_distilled"));

using AutoencoderOnMeta = OnMeta;
TEST_P(AutoencoderOnMeta, Runs) {
  const auto vae = load<AutoencoderKl, AutoencoderKlConfig>();
  expect_like(vae.decode(vae.unscaled(in("latents"))), golden.out("image"));
  EXPECT_TRUE(vae.scaled(vae.encode(in("image")).mean, /*by_channel=*/true).is_meta());
}
INSTANTIATE_TEST_SUITE_P(Cases, AutoencoderOnMeta,
                         ::testing::Values("vae_sd1", "vae_sd3", "vae_one_level", "vae_without_attention"));

TEST(RrdbNetOnMeta, Runs) {
  const RrdbNetConfig config{.features = 16, .growth = 8, .blocks = 2, .doublings = 2, .unshuffle = 2};
  const test::WrittenWeights weights(test::TinyUpscaler{.unshuffle = 2}.tensors());
  const RrdbNet network(config, weights.scope(kDtype, at::kMeta));
  const at::Tensor first =
      network.begin(at::empty({1, 3, 6, 10}, at::TensorOptions(at::kMeta).dtype(kDtype)));
  const at::Tensor enlarged = network.end(first, network.block(1, network.block(0, first)));
  EXPECT_TRUE(enlarged.is_meta());
  EXPECT_EQ(enlarged.sizes(), (std::vector<std::int64_t>{1, 3, 12, 20}));
}

template <typename Network, typename Config>
void expect_autoencoder_runs_on_meta(const char* name) {
  const Golden golden(name);
  const Network vae(Config::from_json(golden.config()).value(), golden.scope(kDtype, at::kMeta));
  at::Tensor x = vae.unscaled(golden.in("latents").narrow(0, 0, 1).to(at::kMeta, kDtype));
  for (std::size_t stage = 0; stage < vae.decode_flops(3, 5).size(); ++stage) x = vae.decode_stage(stage, x);
  EXPECT_TRUE(x.is_meta());
  EXPECT_TRUE(vae.scaled(vae.encode(golden.in("image").to(at::kMeta, kDtype)).mean, true).is_meta());
}

TEST(AutoencodersOnMeta, Run) {
  expect_autoencoder_runs_on_meta<AutoencoderKlFlux2, AutoencoderKlFlux2Config>("vae_flux2");
  expect_autoencoder_runs_on_meta<AutoencoderKlQwenImage, AutoencoderKlQwenImageConfig>("vae_qwen_image");
}

}  // namespace
}  // namespace diffused::models
