#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "pipelines/lora/lora_library.h"
#include "pipelines/lora/lora_scales.h"
#include "pipelines/lora/original_names.h"
#include "support/files.h"
#include "support/safetensors.h"

namespace diffused::pipelines {
namespace {

using test::NamedTensors;
using test::safetensors_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The names as "original>layer@row", those swapped with a ~.
std::vector<std::string> written(const std::vector<OriginalLayer>& names) {
  std::vector<std::string> lines;
  for (const OriginalLayer& one : names)
    lines.push_back(
        fmt::format("{}>{}@{}{}", one.original, one.layer, one.first_row, one.halves_swapped ? "~" : ""));
  std::ranges::sort(lines);
  return lines;
}

ChangeableLayers layers_of(const std::vector<std::string>& names, std::vector<std::int64_t> shape = {4, 4}) {
  ChangeableLayers layers;
  for (const std::string& name : names) layers.emplace(name, shape);
  return layers;
}

TEST(OriginalNames, NumberTheUnetsBlocksThrough) {
  // Two levels down with attention on the first, three resnets a level up.
  EXPECT_THAT(
      written(original_unet_names(
          layers_of({"conv_in", "time_embedding.linear_2", "down_blocks.0.resnets.0.conv1",
                     "down_blocks.0.resnets.1.conv2", "down_blocks.0.attentions.1.proj_in",
                     "down_blocks.0.downsamplers.0.conv", "down_blocks.1.resnets.0.conv_shortcut",
                     "down_blocks.1.resnets.1.time_emb_proj", "mid_block.resnets.1.conv1",
                     "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "up_blocks.0.resnets.0.conv1",
                     "up_blocks.0.resnets.2.conv1", "up_blocks.0.upsamplers.0.conv",
                     "up_blocks.1.resnets.0.conv1", "up_blocks.1.attentions.2.proj_out",
                     "up_blocks.1.resnets.2.conv1", "up_blocks.1.upsamplers.0.conv"}))),
      ElementsAre(
          "input_blocks.0.0>conv_in@0", "input_blocks.1.0.in_layers.2>down_blocks.0.resnets.0.conv1@0",
          "input_blocks.2.0.out_layers.3>down_blocks.0.resnets.1.conv2@0",
          "input_blocks.2.1.proj_in>down_blocks.0.attentions.1.proj_in@0",
          "input_blocks.3.0.op>down_blocks.0.downsamplers.0.conv@0",
          "input_blocks.4.0.skip_connection>down_blocks.1.resnets.0.conv_shortcut@0",
          "input_blocks.5.0.emb_layers.1>down_blocks.1.resnets.1.time_emb_proj@0",
          "middle_block.1.transformer_blocks.0.attn1.to_q>mid_block.attentions.0.transformer_blocks.0.attn1."
          "to_q@0",
          "middle_block.2.in_layers.2>mid_block.resnets.1.conv1@0",
          "output_blocks.0.0.in_layers.2>up_blocks.0.resnets.0.conv1@0",
          "output_blocks.2.0.in_layers.2>up_blocks.0.resnets.2.conv1@0",
          "output_blocks.2.1.conv>up_blocks.0.upsamplers.0.conv@0",
          "output_blocks.3.0.in_layers.2>up_blocks.1.resnets.0.conv1@0",
          "output_blocks.5.0.in_layers.2>up_blocks.1.resnets.2.conv1@0",
          "output_blocks.5.1.proj_out>up_blocks.1.attentions.2.proj_out@0",
          "output_blocks.5.2.conv>up_blocks.1.upsamplers.0.conv@0",
          "time_embed.2>time_embedding.linear_2@0"));
}

TEST(OriginalNames, PutFluxsLinearsSideBySide) {
  ChangeableLayers layers = layers_of(
      {"transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k", "transformer_blocks.0.attn.to_v",
       "transformer_blocks.0.norm1_context.linear", "single_transformer_blocks.0.attn.to_q",
       "single_transformer_blocks.0.attn.to_k", "single_transformer_blocks.0.attn.to_v",
       "single_transformer_blocks.0.proj_out", "norm_out.linear"});
  layers["single_transformer_blocks.0.proj_mlp"] = {16, 4};
  EXPECT_THAT(written(original_flux_names(layers)),
              ElementsAre("double_blocks.0.img_attn.qkv>transformer_blocks.0.attn.to_k@4",
                          "double_blocks.0.img_attn.qkv>transformer_blocks.0.attn.to_q@0",
                          "double_blocks.0.img_attn.qkv>transformer_blocks.0.attn.to_v@8",
                          "double_blocks.0.qkv_lora1>transformer_blocks.0.attn.to_k@4",
                          "double_blocks.0.qkv_lora1>transformer_blocks.0.attn.to_q@0",
                          "double_blocks.0.qkv_lora1>transformer_blocks.0.attn.to_v@8",
                          "double_blocks.0.txt_mod.lin>transformer_blocks.0.norm1_context.linear@0",
                          "final_layer.adaLN_modulation.1>norm_out.linear@0~",
                          "single_blocks.0.linear1>single_transformer_blocks.0.attn.to_k@4",
                          "single_blocks.0.linear1>single_transformer_blocks.0.attn.to_q@0",
                          "single_blocks.0.linear1>single_transformer_blocks.0.attn.to_v@8",
                          "single_blocks.0.linear1>single_transformer_blocks.0.proj_mlp@12",
                          "single_blocks.0.linear2>single_transformer_blocks.0.proj_out@0",
                          "single_blocks.0.proj>single_transformer_blocks.0.proj_out@0",
                          "single_blocks.0.qkv>single_transformer_blocks.0.attn.to_k@4",
                          "single_blocks.0.qkv>single_transformer_blocks.0.attn.to_q@0",
                          "single_blocks.0.qkv>single_transformer_blocks.0.attn.to_v@8"));
}

TEST(OriginalNames, SwapTheLastTextNormOfStableDiffusion3) {
  EXPECT_THAT(
      written(original_sd3_names(
          layers_of({"transformer_blocks.0.attn.to_q", "transformer_blocks.0.norm1_context.linear",
                     "transformer_blocks.0.ff_context.net.0.proj", "transformer_blocks.1.attn.to_q",
                     "transformer_blocks.1.attn2.to_out.0", "transformer_blocks.1.norm1_context.linear",
                     "norm_out.linear"}))),
      ElementsAre(
          "final_layer.adaLN_modulation.1>norm_out.linear@0~",
          "joint_blocks.0.context_block.adaLN_modulation.1>transformer_blocks.0.norm1_context.linear@0",
          "joint_blocks.0.context_block.mlp.fc1>transformer_blocks.0.ff_context.net.0.proj@0",
          "joint_blocks.0.x_block.attn.qkv>transformer_blocks.0.attn.to_q@0",
          "joint_blocks.1.context_block.adaLN_modulation.1>transformer_blocks.1.norm1_context.linear@0~",
          "joint_blocks.1.x_block.attn.qkv>transformer_blocks.1.attn.to_q@0",
          "joint_blocks.1.x_block.attn2.proj>transformer_blocks.1.attn2.to_out.0@0"));
}

TEST(LoraNames, MeanALayerOnceThatIsCalledTheSameByItsMakers) {
  const LoraNames names(layers_of({"transformer.context_embedder", "transformer.pos_embed.proj"}));
  EXPECT_EQ(names.find("lora_unet_context_embedder")->places.size(), 1u);
}

TEST(LoraNames, KnowEverySpelling) {
  const LoraNames names(layers_of({"unet.conv_in", "text_encoder.text_model.encoder.layers.0.mlp.fc1",
                                   "text_encoder_2.encoder.layers.0.mlp.fc1", "vae.decoder.conv_in"}));
  const auto layer = [&](const std::string& name) {
    const auto* meaning = names.find(name);
    return meaning ? meaning->places.front().layer : "";
  };
  for (const char* name : {"unet.conv_in", "lora_unet_conv_in", "lora_unet_input_blocks_0_0",
                           "diffusion_model.input_blocks.0.0", "input_blocks.0.0"})
    EXPECT_EQ(layer(name), "unet.conv_in") << name;
  for (const char* name :
       {"text_encoder.text_model.encoder.layers.0.mlp.fc1", "text_encoder.encoder.layers.0.mlp.fc1",
        "lora_te_text_model_encoder_layers_0_mlp_fc1", "lora_te1_text_model_encoder_layers_0_mlp_fc1"})
    EXPECT_EQ(layer(name), "text_encoder.text_model.encoder.layers.0.mlp.fc1") << name;
  EXPECT_EQ(layer("lora_te2_text_model_encoder_layers_0_mlp_fc1"), "text_encoder_2.encoder.layers.0.mlp.fc1");
  for (const char* name : {"vae.decoder.conv_in", "", "unet.", "unet.conv_in.weight"})
    EXPECT_EQ(names.find(name), nullptr) << name;
}

TEST(LoraScales, FollowPeft) {
  const auto scales = LoraScales::read({{"lora_adapter_metadata", R"({
    "unet.r": 4, "unet.lora_alpha": 8, "unet.rank_pattern": {"conv_in": 2}, "unet.alpha_pattern": {"attn1.to_q": 1},
    "text_encoder.r": 4, "text_encoder.lora_alpha": 8, "text_encoder.use_rslora": true})"}})
                          .value();
  EXPECT_EQ(scales.of("unet.mid_block.proj_in"), 2);
  EXPECT_EQ(scales.of("unet.conv_in"), 4);
  EXPECT_EQ(scales.of("unet.a.attn1.to_q"), 0.25);
  EXPECT_EQ(scales.of("unet.a.other_attn1.to_q"), 2);
  EXPECT_EQ(scales.of("text_encoder.a"), 4);
  EXPECT_EQ(scales.of("text_encoder_2.a"), 1);
  EXPECT_EQ(LoraScales::read({}).value().of("unet.a"), 1);
  EXPECT_FALSE(LoraScales::read({{"lora_adapter_metadata", "["}}));
}

class LoraFileTest : public ::testing::Test {
 protected:
  // Why a file of these tensors is refused; "" when it is not.
  std::string refusal(const NamedTensors& tensors) {
    write_file(path, safetensors_file(tensors));
    const auto opened = LoraFile::open(path, names, layers);
    if (opened) return "";
    EXPECT_THAT(opened.error().message, HasSubstr("ink.safetensors: "));
    EXPECT_EQ(opened.error().message.find('\n'), std::string::npos);
    return opened.error().message;
  }

  TemporaryFolder folder;
  std::filesystem::path path = folder.path() / "ink.safetensors";
  ChangeableLayers layers = layers_of({"unet.a.to_out.0", "unet.conv_in"}, {6, 4});
  LoraNames names{layers};
  LayerPrefixes prefixes = {{"unet", "network3"}};
};

TEST_F(LoraFileTest, TakesTheSpellingsOfItsTensors) {
  const at::Tensor down = at::randn({2, 4}), up = at::randn({6, 2});
  EXPECT_EQ(refusal({{"unet.conv_in.lora_A.weight", down}, {"unet.conv_in.lora_B.weight", up}}), "");
  EXPECT_EQ(refusal({{"unet.conv_in.lora.down.weight", down}, {"unet.conv_in.lora.up.weight", up}}), "");
  EXPECT_EQ(refusal({{"unet.a.processor.to_out_lora.down.weight", down},
                     {"unet.a.processor.to_out_lora.up.weight", up}}),
            "");
  EXPECT_EQ(refusal({{"lora_unet_a_to_out_0.lora_down.weight", down.view({2, 4, 1, 1})},
                     {"lora_unet_a_to_out_0.lora_up.weight", up.view({6, 2, 1, 1})},
                     {"lora_unet_a_to_out_0.alpha", at::scalar_tensor(1.0)}}),
            "");
}

TEST_F(LoraFileTest, RefusesWhatDoesNotFitByName) {
  const at::Tensor down = at::randn({2, 4}), up = at::randn({6, 2});
  EXPECT_THAT(refusal({}), HasSubstr("holds no LoRA"));
  EXPECT_THAT(refusal({{"unet.b.lora_A.weight", down}, {"unet.b.lora_B.weight", up}}),
              HasSubstr("layer 'unet.b' is not one of this model's"));
  EXPECT_THAT(refusal({{"unet.conv_in.lora_A.weight", down}}), HasSubstr("has but one of its two matrices"));
  EXPECT_THAT(refusal({{"unet.conv_in.weight", down}}),
              HasSubstr("'unet.conv_in.weight' is none of a LoRA's"));
  EXPECT_THAT(
      refusal({{"unet.conv_in.lora_A.weight", at::randn({2, 5})}, {"unet.conv_in.lora_B.weight", up}}),
      HasSubstr("matrices of [2, 5] and [6, 2], for a weight of [6, 4]"));
  EXPECT_THAT(
      refusal({{"unet.conv_in.lora_A.weight", down}, {"unet.conv_in.lora_B.weight", at::randn({6, 3})}}),
      HasSubstr("matrices of [2, 4] and [6, 3]"));
  EXPECT_THAT(
      refusal({{"unet.conv_in.lora_A.weight", down}, {"unet.conv_in.lora_B.weight", at::randn({7, 2})}}),
      HasSubstr("has 7 outputs, in this model 6"));
  EXPECT_THAT(refusal({{"unet.conv_in.lora_A.weight", at::randn({0, 4})},
                       {"unet.conv_in.lora_B.weight", at::randn({6, 0})}}),
              HasSubstr("matrices of [0, 4]"));
  EXPECT_THAT(refusal({{"unet.conv_in.lora_A.weight", down},
                       {"unet.conv_in.lora_B.weight", up},
                       {"unet.conv_in.alpha", at::randn({2})}}),
              HasSubstr("'unet.conv_in.alpha' must be one number"));
  EXPECT_THAT(refusal({{"unet.conv_in.lora_A.weight", down},
                       {"unet.conv_in.lora_B.weight", up},
                       {"unet.conv_in.alpha", at::full({1}, NAN)}}),
              HasSubstr("not finite"));
  EXPECT_THAT(refusal({{"lora_unet_conv_in.oft_blocks", up}}), HasSubstr("is a OFT, which is not read"));
  EXPECT_THAT(refusal({{"lora_unet_conv_in.hada_w1_a", up}}), HasSubstr("not all four matrices of a LoHa"));
  EXPECT_THAT(refusal({{"lora_unet_conv_in.lokr_w1", up}}), HasSubstr("one of the two factors of a LoKr"));
  EXPECT_THAT(refusal({{"lora_unet_conv_in.lokr_w1", at::randn({2, 2})},
                       {"lora_unet_conv_in.lokr_w2", at::randn({2, 2})}}),
              HasSubstr("a change of 4 x 4, for a weight of [6, 4]"));
}

// What is understood is applied; the rest is no reason to do without.
TEST_F(LoraFileTest, LeavesOutWhatTheModelHasNot) {
  const at::Tensor down = at::randn({2, 4}), up = at::randn({6, 2});
  EXPECT_EQ(refusal({{"unet.conv_in.lora_A.weight", down},
                     {"unet.conv_in.lora_B.weight", up},
                     {"unet.guidance.lora_A.weight", down},
                     {"unet.guidance.lora_B.weight", up},
                     {"lora_te3_block.lora_down.weight", down},
                     {"unet.conv_in.something", up}}),
            "");
}

// The weight that a file adds to a layer of the model.
at::Tensor added_by(const std::filesystem::path& path, const LoraNames& names, const ChangeableLayers& layers,
                    const LoadedWeights& model, const std::string& layer) {
  const LoraFile file = LoraFile::open(path, names, layers).value();
  const auto lora = file.load(model, {}).value();
  const nn::LayerChange& change = lora->at(layer);
  const at::Tensor matrix = change.up.defined() ? change.up.matmul(change.down.flatten(1)) : change.down;
  return (change.left.defined() ? at::kron(change.left, matrix) : matrix) * change.scale;
}

TEST_F(LoraFileTest, OfTwoNamesOfALayerDiffusersOwnCounts) {
  const auto pair = [](NamedTensors& tensors, const std::string& name, double value) {
    tensors.emplace_back(name + ".lora_down.weight", at::full({2, 4}, value));
    tensors.emplace_back(name + ".lora_up.weight", at::ones({6, 2}));
  };
  const auto added = [&](const std::vector<std::string>& spellings) {
    NamedTensors tensors;
    for (std::size_t i = 0; i < spellings.size(); ++i)
      pair(tensors, spellings[i], 1.0 + static_cast<double>(i));
    write_file(path, safetensors_file(tensors));
    const LoadedWeights model{.changeable = layers, .prefixes = prefixes};
    return added_by(path, names, layers, model, "network3.conv_in")[0][0].item<double>() / 2;
  };
  EXPECT_EQ(added({"lora_unet_conv_in", "lora_unet_input_blocks_0_0"}), 1);
  EXPECT_EQ(added({"lora_unet_input_blocks_0_0", "lora_unet_conv_in"}), 2);
  EXPECT_EQ(added({"unet.conv_in", "lora_unet_conv_in"}), 1);
  EXPECT_EQ(added({"lora_unet_conv_in", "unet.conv_in"}), 2);
  EXPECT_EQ(added({"diffusion_model.input_blocks.0.0", "lora_unet_input_blocks_0_0"}), 2);
}

TEST_F(LoraFileTest, ComputesHadamardAndKroneckerProducts) {
  const LoadedWeights model{.changeable = layers, .prefixes = prefixes};
  const at::Tensor a1 = at::randn({6, 1}), b1 = at::randn({1, 4}), a2 = at::randn({6, 2}),
                   b2 = at::randn({2, 4});
  const std::string layer = "lora_unet_conv_in.";
  ASSERT_EQ(refusal({{layer + "hada_w1_a", a1},
                     {layer + "hada_w1_b", b1},
                     {layer + "hada_w2_a", a2},
                     {layer + "hada_w2_b", b2},
                     {layer + "alpha", at::scalar_tensor(0.5)}}),
            "");
  EXPECT_TRUE(at::allclose(added_by(path, names, layers, model, "network3.conv_in"),
                           a1.matmul(b1) * a2.matmul(b2) * 0.5));
  const at::Tensor w1 = at::randn({2, 2}), w2_a = at::randn({3, 1}), w2_b = at::randn({1, 2});
  ASSERT_EQ(refusal({{layer + "lokr_w1", w1},
                     {layer + "lokr_w2_a", w2_a},
                     {layer + "lokr_w2_b", w2_b},
                     {layer + "alpha", at::scalar_tensor(0.5)}}),
            "");
  EXPECT_TRUE(at::allclose(added_by(path, names, layers, model, "network3.conv_in"),
                           at::kron(w1, w2_a.matmul(w2_b)) * 0.5));
}

TEST_F(LoraFileTest, SaysSoWhenItIsReplacedByAnother) {
  ASSERT_EQ(refusal({{"unet.conv_in.lora_A.weight", at::randn({2, 4})},
                     {"unet.conv_in.lora_B.weight", at::randn({6, 2})}}),
            "");
  const LoraFile file = LoraFile::open(path, names, layers).value();
  const LoadedWeights model{.changeable = layers, .prefixes = prefixes};
  ASSERT_TRUE(file.load(model, {}));
  write_file(path, safetensors_file({{"x", at::randn({2})}}));
  EXPECT_THAT(file.load(model, {}).error().message, HasSubstr("is another file"));
}

TEST_F(LoraFileTest, MayBeCalledWhatItCallsItself) {
  const NamedTensors tensors = {{"unet.conv_in.lora_A.weight", at::randn({2, 4})},
                                {"unet.conv_in.lora_B.weight", at::randn({6, 2})}};
  const auto add = [&](const char* name, const std::string& alias) {
    write_file(folder.path() / (std::string(name) + ".safetensors"),
               safetensors_file(tensors, R"({"ss_output_name":")" + alias + "\"}"));
  };
  add("a", "Pen and Ink");
  add("b", "twice");
  add("c", "twice");
  add("d", "");
  const LoadedWeights model{.changeable = layers, .prefixes = prefixes};
  const auto aliases = LoraLibrary::scan(folder.path(), model, at::kFloat, at::kCPU).value().aliases();
  EXPECT_THAT(aliases, ElementsAre(std::pair<const std::string, std::string>("Pen and Ink", "a")));
}

// Two of a kind, one damaged and one of another model, in a folder with others' files.
TEST_F(LoraFileTest, OfAFolderThoseCountThatFit) {
  const std::string fits = safetensors_file(NamedTensors{{"unet.conv_in.lora_A.weight", at::randn({2, 4})},
                                                         {"unet.conv_in.lora_B.weight", at::randn({6, 2})}});
  std::filesystem::create_directories(folder.path() / "style");
  write_file(folder.path() / "style/ink.safetensors", fits);
  write_file(folder.path() / "pencil.v1.SafeTensors", fits);
  write_file(folder.path() / "cut.safetensors", fits.substr(0, fits.size() - 4));
  write_file(folder.path() / "readme.txt", "x");
  write_file(folder.path() / "\xff.safetensors", fits);  // which no JSON could name
  std::filesystem::create_directories(folder.path() / "folder.safetensors");
  ASSERT_EQ(mkfifo((folder.path() / "pipe.safetensors").c_str(), 0600), 0);
  std::filesystem::create_directory_symlink("..", folder.path() / "style/back");
  ASSERT_THAT(refusal({{"unet.b.lora_A.weight", at::randn({2, 4})}}), HasSubstr("layer 'unet.b'"));
  const LoadedWeights model{.changeable = layers, .prefixes = prefixes};
  auto library = LoraLibrary::scan(folder.path(), model, at::kFloat, at::kCPU).value();
  EXPECT_THAT(library.names(), ElementsAre("pencil.v1", "style/ink"));
  const auto set = library.choose({{"style/ink", 0.5}, {"pencil.v1", 0}, {"style/ink", -1}}).value();
  ASSERT_EQ(set.size(), 2u);
  EXPECT_EQ(set[0].lora, set[1].lora);
  EXPECT_EQ(set[1].weight, -1);
  EXPECT_TRUE(set[0].lora->contains("network3.conv_in"));  // as the network's layer calls itself
  std::filesystem::remove(folder.path() / "pencil.v1.SafeTensors");
  EXPECT_THAT(library.choose({{"pencil.v1", 1}}).error().message, HasSubstr("pencil.v1.SafeTensors"));
  EXPECT_THAT(library.choose({}).value(), IsEmpty());
  EXPECT_EQ(LoraLibrary::scan(folder.path() / "nowhere", model, at::kFloat, at::kCPU).error().code,
            ErrorCode::not_found);
}

}  // namespace
}  // namespace diffused::pipelines
