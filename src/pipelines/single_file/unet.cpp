// The names that the UNet of Stable Diffusion had before Diffusers: numbered blocks, input_blocks.0 …, each
// holding a resnet and perhaps a transformer, or a change of resolution. And Diffusers' own.
#include <fmt/format.h>

#include <algorithm>
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
  // Transformer blocks in each layer on the way down and up; 0: no attention.
  std::vector<int> depths, up_depths;
};

void rename_unet_resnet(Renaming& names, const std::string& from, const std::string& to) {
  names.layer(from + ".in_layers.0", to + ".norm1");
  names.layer(from + ".in_layers.2", to + ".conv1");
  names.layer(from + ".emb_layers.1", to + ".time_emb_proj");
  names.layer(from + ".out_layers.0", to + ".norm2");
  names.layer(from + ".out_layers.3", to + ".conv2");
  names.layer(from + ".skip_connection", to + ".conv_shortcut");
}

// A transformer, whose inner names never changed; how many blocks it has.
int rename_unet_attention(Renaming& names, const std::string& from, const std::string& to) {
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
    const std::size_t layer = level.depths.size();
    rename_unet_resnet(names, block + ".0", fmt::format("{}.resnets.{}", to, layer));
    level.channels = names.size(block + ".0.out_layers.3.weight", 4, 0);
    level.depths.push_back(
        rename_unet_attention(names, block + ".1", fmt::format("{}.attentions.{}", to, layer)));
  }
  return levels;
}

void rename_up(Renaming& names, std::vector<Level>& levels) {
  int i = 0;
  for (std::size_t block_up = 0; block_up < levels.size(); ++block_up) {
    const std::string to = fmt::format("up_blocks.{}", block_up);
    Level& level = levels[levels.size() - 1 - block_up];
    for (std::size_t layer = 0; layer <= level.depths.size(); ++layer, ++i) {
      const std::string block = fmt::format("output_blocks.{}", i);
      rename_unet_resnet(names, block + ".0", fmt::format("{}.resnets.{}", to, layer));
      const int depth =
          rename_unet_attention(names, block + ".1", fmt::format("{}.attentions.{}", to, layer));
      names.layer(block + (depth > 0 ? ".2.conv" : ".1.conv"), to + ".upsamplers.0.conv");
      level.up_depths.push_back(depth);
    }
  }
}

// How many blocks the transformer in the middle has, 0 where it is one resnet; nothing without a middle.
std::optional<int> rename_middle(Renaming& names) {
  if (!names.has_under("middle_block.")) return std::nullopt;
  rename_unet_resnet(names, "middle_block.0", "mid_block.resnets.0");
  rename_unet_resnet(names, "middle_block.2", "mid_block.resnets.1");
  return rename_unet_attention(names, "middle_block.1", "mid_block.attentions.0");
}

bool has_attention(const std::vector<int>& depths) {
  return std::ranges::any_of(depths, [](int depth) { return depth > 0; });
}

// As the config has it: a number for all layers or a list.
boost::json::value told_depths(const std::vector<int>& depths) {
  if (!has_attention(depths)) return 1;
  if (std::ranges::count(depths, depths.front()) == std::ssize(depths)) return depths.front();
  return json_list(depths);
}

void tell_levels(const std::vector<Level>& levels, std::optional<int> middle, FileComponent& unet) {
  boost::json::array channels, layers, depths, up_depths, down, up, heads;
  const bool linear = unet.told["use_linear_projection"].as_bool();
  for (const Level& level : levels) {
    channels.emplace_back(level.channels);
    layers.emplace_back(std::ssize(level.depths));
    depths.emplace_back(told_depths(level.depths));
    up_depths.insert(up_depths.begin(), told_depths(level.up_depths));
    down.emplace_back(has_attention(level.depths) ? "CrossAttnDownBlock2D" : "DownBlock2D");
    up.insert(up.begin(), has_attention(level.up_depths) ? "CrossAttnUpBlock2D" : "UpBlock2D");
    heads.emplace_back(linear ? std::max<std::int64_t>(level.channels / kHeadSizeOfNew, 1) : kHeadsOfOld);
  }
  // Without attention of its own the last level's number is the middle's.
  if (middle && *middle > 0 && !has_attention(levels.back().depths)) depths.back() = *middle;
  unet.told["block_out_channels"] = std::move(channels);
  unet.told["layers_per_block"] = std::move(layers);
  unet.told["transformer_layers_per_block"] = std::move(depths);
  unet.told["reverse_transformer_layers_per_block"] = std::move(up_depths);
  unet.told["down_block_types"] = std::move(down);
  unet.told["up_block_types"] = std::move(up);
  unet.told["mid_block_type"] = nullptr;
  if (middle) unet.told["mid_block_type"] = *middle > 0 ? "UNetMidBlock2DCrossAttn" : "UNetMidBlock2D";
  unet.likely["attention_head_dim"] = std::move(heads);
}

// As Diffusers names them: the layers of a block.
std::vector<int> own_depths(const Renaming& names, const std::string& block, int layers) {
  std::vector<int> depths;
  for (int i = 0; i < layers; ++i)
    depths.push_back(names.count(fmt::format("{}.attentions.{}.transformer_blocks", block, i)));
  return depths;
}

std::vector<Level> own_levels(const Renaming& names) {
  std::vector<Level> levels(static_cast<std::size_t>(names.count("down_blocks")));
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const std::string down = fmt::format("down_blocks.{}", i);
    const std::string up = fmt::format("up_blocks.{}", levels.size() - 1 - i);
    levels[i].channels = names.size(down + ".resnets.0.conv2.weight", 4, 0);
    levels[i].depths = own_depths(names, down, names.count(down + ".resnets"));
    levels[i].up_depths = own_depths(names, up, names.count(up + ".resnets"));
  }
  return levels;
}

std::optional<int> own_middle(const Renaming& names) {
  if (!names.has_under("mid_block.")) return std::nullopt;
  return names.count("mid_block.attentions.0.transformer_blocks");
}

// Tells the text's width and the kind of projection by the first transformer there is.
void tell_attention(const Renaming& names, FileComponent& unet) {
  unet.told["use_linear_projection"] = false;
  std::vector<std::string> places = {"middle_block.1", "mid_block.attentions.0"};
  for (int i = 1; names.has_under(fmt::format("input_blocks.{}.", i)); ++i)
    places.push_back(fmt::format("input_blocks.{}.1", i));
  for (int i = 0; names.has_under(fmt::format("down_blocks.{}.", i)); ++i)
    places.push_back(fmt::format("down_blocks.{}.attentions.0", i));
  for (const std::string& place : places) {
    const std::string text = place + ".transformer_blocks.0.attn2.to_k.weight";
    if (!names.has(text)) continue;
    unet.told["cross_attention_dim"] = names.size(text, 2, 1);
    unet.told["use_linear_projection"] = names.rank(place + ".proj_in.weight") == 2;
    return;
  }
}

void tell_conditions(const Renaming& names, const std::string& embedding, FileComponent& unet) {
  unet.told["addition_embed_type"] = nullptr;
  if (!names.has(embedding)) return;
  unet.told["addition_embed_type"] = "text_time";
  unet.told["projection_class_embeddings_input_dim"] = names.size(embedding, 2, 1);
  unet.likely["addition_time_embed_dim"] = kSizeEmbedding;
}

FileComponent own_unet_component(Renaming& names) {
  FileComponent unet{"diffusers", "UNet2DConditionModel"};
  unet.told["in_channels"] = names.size("conv_in.weight", 4, 1);
  unet.told["out_channels"] = names.size("conv_out.weight", 4, 0);
  const std::string guidance = "time_embedding.cond_proj.weight";
  unet.told["time_cond_proj_dim"] = nullptr;
  if (names.has(guidance)) unet.told["time_cond_proj_dim"] = names.size(guidance, 2, 1);
  tell_attention(names, unet);
  tell_conditions(names, "add_embedding.linear_1.weight", unet);
  tell_levels(own_levels(names), own_middle(names), unet);
  for (const char* const part : {"conv_in.", "time_embedding.", "add_embedding.", "down_blocks.",
                                 "mid_block.", "up_blocks.", "conv_norm_out.", "conv_out."})
    names.all_under(part, part);
  unet.weights = names.view();
  return unet;
}

}  // namespace

FileComponent unet_component(Renaming& names) {
  if (names.has("conv_in.weight")) return own_unet_component(names);
  FileComponent unet{"diffusers", "UNet2DConditionModel"};
  unet.told["in_channels"] = names.size("input_blocks.0.0.weight", 4, 1);
  unet.told["out_channels"] = names.size("out.2.weight", 4, 0);
  unet.told["time_cond_proj_dim"] = nullptr;
  tell_attention(names, unet);
  names.layer("time_embed.0", "time_embedding.linear_1");
  names.layer("time_embed.2", "time_embedding.linear_2");
  names.layer("input_blocks.0.0", "conv_in");
  names.layer("out.0", "conv_norm_out");
  names.layer("out.2", "conv_out");
  names.layer("label_emb.0.0", "add_embedding.linear_1");
  names.layer("label_emb.0.2", "add_embedding.linear_2");
  tell_conditions(names, "label_emb.0.0.weight", unet);
  std::vector<Level> levels = rename_down(names);
  rename_up(names, levels);
  tell_levels(levels, rename_middle(names), unet);
  unet.weights = names.view();
  return unet;
}

}  // namespace diffused::pipelines
