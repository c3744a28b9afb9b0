#include "pipelines/lora/original_names.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

namespace diffused::pipelines {
namespace {

using Names = std::map<std::string, std::string, std::less<>>;

// A layer of a list of blocks: "down_blocks.1.resnets.0.conv1" with the list "down_blocks" is of block 1, and
// the rest is "resnets.0.conv1".
struct ListedLayer {
  int index = 0;
  std::string rest;
};

std::optional<ListedLayer> listed(std::string_view name, std::string_view list) {
  if (!name.starts_with(list) || name.size() <= list.size() || name[list.size()] != '.') return std::nullopt;
  name.remove_prefix(list.size() + 1);
  ListedLayer found;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), found.index);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return std::nullopt;
  found.rest.assign(end + 1, name.data() + name.size());
  return found;
}

// A block of the UNet as Diffusers has it.
struct UnetBlock {
  int resnets = 0;
  bool attentions = false, downsampler = false;
};

std::vector<UnetBlock> unet_blocks(const ChangeableLayers& layers, std::string_view list) {
  std::vector<UnetBlock> blocks;
  for (const auto& [name, shape] : layers) {
    const auto block = listed(name, list);
    if (!block) continue;
    if (blocks.size() <= static_cast<std::size_t>(block->index)) blocks.resize(block->index + 1);
    UnetBlock& known = blocks[block->index];
    if (const auto resnet = listed(block->rest, "resnets"))
      known.resnets = std::max(known.resnets, resnet->index + 1);
    known.attentions = known.attentions || block->rest.starts_with("attentions.");
    known.downsampler = known.downsampler || block->rest.starts_with("downsamplers.");
  }
  return blocks;
}

// Of a block's inside: a resnet has names of its own, a transformer never got others.
std::optional<std::string> original_inside(std::string_view rest, const std::string& before) {
  static const Names kResnet = {{"conv1", "in_layers.2"},          {"conv2", "out_layers.3"},
                                {"norm1", "in_layers.0"},          {"norm2", "out_layers.0"},
                                {"time_emb_proj", "emb_layers.1"}, {"conv_shortcut", "skip_connection"}};
  if (const auto resnet = listed(rest, "resnets")) {
    const auto name = kResnet.find(resnet->rest);
    if (name == kResnet.end()) return std::nullopt;
    return before + "." + name->second;
  }
  if (const auto transformer = listed(rest, "attentions")) return before + "." + transformer->rest;
  return std::nullopt;
}

std::optional<std::string> original_down(const ListedLayer& block, const std::vector<UnetBlock>& blocks) {
  int first = 1;  // the numbers go on from block to block; 0 is conv_in
  for (int i = 0; i < block.index; ++i) first += blocks[i].resnets + (blocks[i].downsampler ? 1 : 0);
  if (block.rest == "downsamplers.0.conv")
    return fmt::format("input_blocks.{}.0.op", first + blocks[block.index].resnets);
  const auto resnet = listed(block.rest, "resnets"), transformer = listed(block.rest, "attentions");
  if (!resnet && !transformer) return std::nullopt;
  return original_inside(
      block.rest,
      fmt::format("input_blocks.{}.{}", first + (resnet ? resnet : transformer)->index, resnet ? 0 : 1));
}

std::optional<std::string> original_up(const ListedLayer& block, const std::vector<UnetBlock>& blocks) {
  int first = 0;
  for (int i = 0; i < block.index; ++i) first += blocks[i].resnets;
  const UnetBlock& own = blocks[block.index];
  if (block.rest == "upsamplers.0.conv")
    return fmt::format("output_blocks.{}.{}.conv", first + own.resnets - 1, own.attentions ? 2 : 1);
  const auto resnet = listed(block.rest, "resnets"), transformer = listed(block.rest, "attentions");
  if (!resnet && !transformer) return std::nullopt;
  return original_inside(
      block.rest,
      fmt::format("output_blocks.{}.{}", first + (resnet ? resnet : transformer)->index, resnet ? 0 : 1));
}

std::optional<std::string> original_middle(std::string_view rest) {
  if (rest.starts_with("resnets.0.")) return original_inside(rest, "middle_block.0");
  if (rest.starts_with("attentions.0.")) return original_inside(rest, "middle_block.1");
  if (rest.starts_with("resnets.1.")) return original_inside(rest, "middle_block.2");
  return std::nullopt;
}

// One original layer whose outputs are those of several layers, one after another; those that the network
// does not have are passed over.
void add_joined(std::vector<OriginalLayer>& names, const ChangeableLayers& layers,
                const std::string& original, const std::vector<std::string>& parts) {
  std::int64_t first_row = 0;
  for (const std::string& part : parts) {
    const auto layer = layers.find(part);
    if (layer == layers.end()) continue;
    names.push_back({.original = original, .layer = part, .first_row = first_row, .halves_swapped = false});
    first_row += layer->second.front();
  }
}

// The last norm's shift and scale, which are scale and shift here.
void add_last_norm(std::vector<OriginalLayer>& names, const ChangeableLayers& layers) {
  if (!layers.contains("norm_out.linear")) return;
  names.push_back({.original = "final_layer.adaLN_modulation.1",
                   .layer = "norm_out.linear",
                   .first_row = 0,
                   .halves_swapped = true});
}

}  // namespace

std::vector<OriginalLayer> original_unet_names(const ChangeableLayers& layers) {
  static const Names kEnds = {{"conv_in", "input_blocks.0.0"},
                              {"conv_out", "out.2"},
                              {"conv_norm_out", "out.0"},
                              {"time_embedding.linear_1", "time_embed.0"},
                              {"time_embedding.linear_2", "time_embed.2"},
                              {"add_embedding.linear_1", "label_emb.0.0"},
                              {"add_embedding.linear_2", "label_emb.0.2"}};
  const auto down = unet_blocks(layers, "down_blocks"), up = unet_blocks(layers, "up_blocks");
  std::vector<OriginalLayer> names;
  for (const auto& [name, shape] : layers) {
    std::optional<std::string> original;
    if (const auto end = kEnds.find(name); end != kEnds.end())
      original = end->second;
    else if (const auto block = listed(name, "down_blocks"))
      original = original_down(*block, down);
    else if (const auto block = listed(name, "up_blocks"))
      original = original_up(*block, up);
    else if (name.starts_with("mid_block."))
      original = original_middle(std::string_view(name).substr(std::string_view("mid_block.").size()));
    if (original)
      names.push_back({.original = *original, .layer = name, .first_row = 0, .halves_swapped = false});
  }
  return names;
}

std::vector<OriginalLayer> original_flux_names(const ChangeableLayers& layers) {
  static const Names kEnds = {{"x_embedder", "img_in"},
                              {"context_embedder", "txt_in"},
                              {"time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"},
                              {"time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"},
                              {"time_text_embed.text_embedder.linear_1", "vector_in.in_layer"},
                              {"time_text_embed.text_embedder.linear_2", "vector_in.out_layer"},
                              {"time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"},
                              {"time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"},
                              {"proj_out", "final_layer.linear"}};
  std::vector<OriginalLayer> names;
  for (const auto& [layer, original] : kEnds) add_joined(names, layers, original, {layer});
  add_last_norm(names, layers);
  for (int i = 0; layers.contains(fmt::format("transformer_blocks.{}.attn.to_q", i)); ++i) {
    const std::string from = fmt::format("double_blocks.{}.", i),
                      to = fmt::format("transformer_blocks.{}.", i);
    const std::string attention = to + "attn.";
    add_joined(names, layers, from + "img_attn.qkv",
               {attention + "to_q", attention + "to_k", attention + "to_v"});
    add_joined(names, layers, from + "txt_attn.qkv",
               {attention + "add_q_proj", attention + "add_k_proj", attention + "add_v_proj"});
    // XLabs' "processors".
    add_joined(names, layers, from + "qkv_lora1",
               {attention + "to_q", attention + "to_k", attention + "to_v"});
    add_joined(names, layers, from + "qkv_lora2",
               {attention + "add_q_proj", attention + "add_k_proj", attention + "add_v_proj"});
    add_joined(names, layers, from + "proj_lora1", {attention + "to_out.0"});
    add_joined(names, layers, from + "proj_lora2", {attention + "to_add_out"});
    add_joined(names, layers, from + "img_attn.proj", {attention + "to_out.0"});
    add_joined(names, layers, from + "txt_attn.proj", {attention + "to_add_out"});
    for (const auto& [stream, added] : {std::pair("img", ""), std::pair("txt", "_context")}) {
      add_joined(names, layers, from + stream + "_mod.lin", {to + "norm1" + added + ".linear"});
      add_joined(names, layers, from + stream + "_mlp.0", {to + "ff" + added + ".net.0.proj"});
      add_joined(names, layers, from + stream + "_mlp.2", {to + "ff" + added + ".net.2"});
    }
  }
  for (int i = 0; layers.contains(fmt::format("single_transformer_blocks.{}.proj_out", i)); ++i) {
    const std::string from = fmt::format("single_blocks.{}.", i),
                      to = fmt::format("single_transformer_blocks.{}.", i);
    add_joined(names, layers, from + "linear1",
               {to + "attn.to_q", to + "attn.to_k", to + "attn.to_v", to + "proj_mlp"});
    add_joined(names, layers, from + "linear2", {to + "proj_out"});
    add_joined(names, layers, from + "qkv", {to + "attn.to_q", to + "attn.to_k", to + "attn.to_v"});
    add_joined(names, layers, from + "proj", {to + "proj_out"});
    add_joined(names, layers, from + "modulation.lin", {to + "norm.linear"});
  }
  return names;
}

std::vector<OriginalLayer> original_flux2_names(const ChangeableLayers& layers) {
  // The last norm's halves stay in the order that the file has, as Diffusers leaves them.
  static const Names kEnds = {{"x_embedder", "img_in"},
                              {"context_embedder", "txt_in"},
                              {"time_guidance_embed.timestep_embedder.linear_1", "time_in.in_layer"},
                              {"time_guidance_embed.timestep_embedder.linear_2", "time_in.out_layer"},
                              {"double_stream_modulation_img.linear", "double_stream_modulation_img.lin"},
                              {"double_stream_modulation_txt.linear", "double_stream_modulation_txt.lin"},
                              {"single_stream_modulation.linear", "single_stream_modulation.lin"},
                              {"norm_out.linear", "final_layer.adaLN_modulation.1"},
                              {"proj_out", "final_layer.linear"}};
  std::vector<OriginalLayer> names;
  for (const auto& [layer, original] : kEnds) add_joined(names, layers, original, {layer});
  for (int i = 0; layers.contains(fmt::format("transformer_blocks.{}.attn.to_q", i)); ++i) {
    const std::string from = fmt::format("double_blocks.{}.", i),
                      to = fmt::format("transformer_blocks.{}.", i);
    const std::string attention = to + "attn.";
    add_joined(names, layers, from + "img_attn.qkv",
               {attention + "to_q", attention + "to_k", attention + "to_v"});
    add_joined(names, layers, from + "txt_attn.qkv",
               {attention + "add_q_proj", attention + "add_k_proj", attention + "add_v_proj"});
    add_joined(names, layers, from + "img_attn.proj", {attention + "to_out.0"});
    add_joined(names, layers, from + "txt_attn.proj", {attention + "to_add_out"});
    for (const auto& [stream, own] : {std::pair("img", "ff."), std::pair("txt", "ff_context.")}) {
      add_joined(names, layers, from + stream + "_mlp.0", {to + own + "linear_in"});
      add_joined(names, layers, from + stream + "_mlp.2", {to + own + "linear_out"});
    }
  }
  for (int i = 0; layers.contains(fmt::format("single_transformer_blocks.{}.attn.to_out", i)); ++i) {
    const std::string from = fmt::format("single_blocks.{}.", i),
                      to = fmt::format("single_transformer_blocks.{}.attn.", i);
    add_joined(names, layers, from + "linear1", {to + "to_qkv_mlp_proj"});
    add_joined(names, layers, from + "linear2", {to + "to_out"});
  }
  return names;
}

std::vector<OriginalLayer> original_z_image_names(const ChangeableLayers& layers) {
  static const Names kEnds = {{"all_x_embedder.2-1", "x_embedder"},
                              {"all_final_layer.2-1.linear", "final_layer.linear"},
                              {"all_final_layer.2-1.adaLN_modulation.1", "final_layer.adaLN_modulation.1"}};
  std::vector<OriginalLayer> names;
  for (const auto& [layer, original] : kEnds) add_joined(names, layers, original, {layer});
  for (const char* const list : {"noise_refiner", "context_refiner", "layers"}) {
    for (int i = 0; layers.contains(fmt::format("{}.{}.attention.to_q", list, i)); ++i) {
      const std::string attention = fmt::format("{}.{}.attention.", list, i);
      add_joined(names, layers, attention + "qkv",
                 {attention + "to_q", attention + "to_k", attention + "to_v"});
      add_joined(names, layers, attention + "out", {attention + "to_out.0"});
    }
  }
  return names;
}

std::vector<OriginalLayer> original_sd3_names(const ChangeableLayers& layers) {
  static const Names kEnds = {{"pos_embed.proj", "x_embedder.proj"},
                              {"context_embedder", "context_embedder"},
                              {"time_text_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"},
                              {"time_text_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"},
                              {"time_text_embed.text_embedder.linear_1", "y_embedder.mlp.0"},
                              {"time_text_embed.text_embedder.linear_2", "y_embedder.mlp.2"},
                              {"proj_out", "final_layer.linear"}};
  std::vector<OriginalLayer> names;
  for (const auto& [layer, original] : kEnds) add_joined(names, layers, original, {layer});
  add_last_norm(names, layers);
  for (int i = 0; layers.contains(fmt::format("transformer_blocks.{}.attn.to_q", i)); ++i) {
    const std::string image = fmt::format("joint_blocks.{}.x_block.", i),
                      text = fmt::format("joint_blocks.{}.context_block.", i),
                      to = fmt::format("transformer_blocks.{}.", i);
    for (const char* const attn : {"attn", "attn2"}) {
      const std::string own = to + attn + ".";
      add_joined(names, layers, image + attn + ".qkv", {own + "to_q", own + "to_k", own + "to_v"});
      add_joined(names, layers, image + attn + ".proj", {own + "to_out.0"});
    }
    add_joined(names, layers, text + "attn.qkv",
               {to + "attn.add_q_proj", to + "attn.add_k_proj", to + "attn.add_v_proj"});
    add_joined(names, layers, text + "attn.proj", {to + "attn.to_add_out"});
    add_joined(names, layers, image + "mlp.fc1", {to + "ff.net.0.proj"});
    add_joined(names, layers, image + "mlp.fc2", {to + "ff.net.2"});
    add_joined(names, layers, text + "mlp.fc1", {to + "ff_context.net.0.proj"});
    add_joined(names, layers, text + "mlp.fc2", {to + "ff_context.net.2"});
    add_joined(names, layers, image + "adaLN_modulation.1", {to + "norm1.linear"});
    if (!layers.contains(to + "norm1_context.linear")) continue;
    // The last block's text only shifts and scales, in the other order here.
    names.push_back({.original = text + "adaLN_modulation.1",
                     .layer = to + "norm1_context.linear",
                     .first_row = 0,
                     .halves_swapped = !layers.contains(to + "ff_context.net.0.proj")});
  }
  return names;
}

}  // namespace diffused::pipelines
