// The names that the UNet of Stable Diffusion had before Diffusers: numbered blocks, input_blocks.0 …, each
// holding a resnet and perhaps a transformer, or a change of resolution.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "pipelines/single_file/component.h"

namespace diffused::pipelines {
namespace {

using weights::Renaming;

constexpr std::int64_t kHeadsOfOld = 8;       // of Stable Diffusion 1, on every level
constexpr std::int64_t kHeadSizeOfNew = 64;   // of Stable Diffusion 2 and XL
constexpr std::int64_t kSizeEmbedding = 256;  // of XL, for each of the sizes that condition

struct Level {
  std::int64_t channels = 0;
  int layers = 0;
  int depth = 0;  // transformer blocks in each layer; 0: no attention
};

void rename_resnet(Renaming& names, const std::string& from, const std::string& to) {
  names.layer(from + ".in_layers.0", to + ".norm1");
  names.layer(from + ".in_layers.2", to + ".conv1");
  names.layer(from + ".emb_layers.1", to + ".time_emb_proj");
  names.layer(from + ".out_layers.0", to + ".norm2");
  names.layer(from + ".out_layers.3", to + ".conv2");
  names.layer(from + ".skip_connection", to + ".conv_shortcut");
}

// A transformer, whose inner names never changed; how many blocks it has.
int rename_attention(Renaming& names, const std::string& from, const std::string& to) {
  if (!names.has(from + ".proj_in.weight")) return 0;
  names.all_under(from + ".", to + ".");
  return names.count(from + ".transformer_blocks");
}

std::vector<Level> rename_down(Renaming& names) {
  std::vector<Level> levels(1);
  for (int i = 1; names.has_under(fmt::format("input_blocks.{}.", i)); ++i) {
    const std::string block = fmt::format("input_blocks.{}", i);
    const std::string to = fmt::format("down_blocks.{}", levels.size() - 1);
    if (names.has(block + ".0.op.weight")) {
      names.layer(block + ".0.op", to + ".downsamplers.0.conv");
      levels.emplace_back();
      continue;
    }
    Level& level = levels.back();
    rename_resnet(names, block + ".0", fmt::format("{}.resnets.{}", to, level.layers));
    level.channels = names.size(block + ".0.out_layers.3.weight", 4, 0);
    level.depth = rename_attention(names, block + ".1", fmt::format("{}.attentions.{}", to, level.layers));
    ++level.layers;
  }
  return levels;
}

void rename_up(Renaming& names, const std::vector<Level>& levels) {
  int i = 0;
  for (std::size_t level = 0; level < levels.size(); ++level) {
    const std::string to = fmt::format("up_blocks.{}", level);
    for (int layer = 0; layer <= levels[levels.size() - 1 - level].layers; ++layer, ++i) {
      const std::string block = fmt::format("output_blocks.{}", i);
      rename_resnet(names, block + ".0", fmt::format("{}.resnets.{}", to, layer));
      const int depth = rename_attention(names, block + ".1", fmt::format("{}.attentions.{}", to, layer));
      names.layer(block + (depth > 0 ? ".2.conv" : ".1.conv"), to + ".upsamplers.0.conv");
    }
  }
}

// How many blocks the transformer in the middle has; nothing without a middle.
std::optional<int> rename_middle(Renaming& names) {
  if (!names.has_under("middle_block.")) return std::nullopt;
  rename_resnet(names, "middle_block.0", "mid_block.resnets.0");
  rename_resnet(names, "middle_block.2", "mid_block.resnets.1");
  return rename_attention(names, "middle_block.1", "mid_block.attentions.0");
}

void tell_levels(const std::vector<Level>& levels, std::optional<int> middle, FileComponent& unet) {
  boost::json::array channels, layers, depths, down, up, heads;
  const bool linear = unet.told["use_linear_projection"].as_bool();
  for (const Level& level : levels) {
    channels.emplace_back(level.channels);
    layers.emplace_back(level.layers);
    depths.emplace_back(std::max(level.depth, 1));
    down.emplace_back(level.depth > 0 ? "CrossAttnDownBlock2D" : "DownBlock2D");
    up.insert(up.begin(), level.depth > 0 ? "CrossAttnUpBlock2D" : "UpBlock2D");
    heads.emplace_back(linear ? std::max<std::int64_t>(level.channels / kHeadSizeOfNew, 1) : kHeadsOfOld);
  }
  // Without attention of its own the last level's number is the middle's.
  if (middle && levels.back().depth == 0) depths.back() = *middle;
  unet.told["block_out_channels"] = std::move(channels);
  unet.told["layers_per_block"] = std::move(layers);
  unet.told["transformer_layers_per_block"] = std::move(depths);
  unet.told["down_block_types"] = std::move(down);
  unet.told["up_block_types"] = std::move(up);
  unet.told["mid_block_type"] = nullptr;
  if (middle) unet.told["mid_block_type"] = "UNetMidBlock2DCrossAttn";
  unet.likely["attention_head_dim"] = std::move(heads);
}

// Tells the text's width and the kind of projection by the first transformer there is.
void tell_attention(const Renaming& names, FileComponent& unet) {
  unet.told["use_linear_projection"] = false;
  std::vector<std::string> places = {"middle_block.1"};
  for (int i = 1; names.has_under(fmt::format("input_blocks.{}.", i)); ++i)
    places.push_back(fmt::format("input_blocks.{}.1", i));
  for (const std::string& place : places) {
    const std::string text = place + ".transformer_blocks.0.attn2.to_k.weight";
    if (!names.has(text)) continue;
    unet.told["cross_attention_dim"] = names.size(text, 2, 1);
    unet.told["use_linear_projection"] = names.rank(place + ".proj_in.weight") == 2;
    return;
  }
}

}  // namespace

FileComponent unet_component(Renaming& names) {
  FileComponent unet{"diffusers", "UNet2DConditionModel", {}, {}, nullptr};
  unet.told["in_channels"] = names.size("input_blocks.0.0.weight", 4, 1);
  unet.told["out_channels"] = names.size("out.2.weight", 4, 0);
  unet.told["time_cond_proj_dim"] = nullptr;
  tell_attention(names, unet);
  names.layer("time_embed.0", "time_embedding.linear_1");
  names.layer("time_embed.2", "time_embedding.linear_2");
  names.layer("input_blocks.0.0", "conv_in");
  names.layer("out.0", "conv_norm_out");
  names.layer("out.2", "conv_out");
  unet.told["addition_embed_type"] = nullptr;
  if (names.has("label_emb.0.0.weight")) {
    names.layer("label_emb.0.0", "add_embedding.linear_1");
    names.layer("label_emb.0.2", "add_embedding.linear_2");
    unet.told["addition_embed_type"] = "text_time";
    unet.told["projection_class_embeddings_input_dim"] = names.size("label_emb.0.0.weight", 2, 1);
    unet.likely["addition_time_embed_dim"] = kSizeEmbedding;
  }
  const std::vector<Level> levels = rename_down(names);
  tell_levels(levels, rename_middle(names), unet);
  rename_up(names, levels);
  unet.weights = names.view();
  return unet;
}

}  // namespace diffused::pipelines
