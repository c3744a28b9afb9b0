// The names that the transformer of Stable Diffusion 3 has where its makers publish it, and those of
// Diffusers.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cmath>

#include "pipelines/single_file/component.h"

namespace diffused::pipelines {
namespace {

using weights::Form;
using weights::Renaming;

constexpr std::int64_t kMmditHeadSize = 64;
constexpr std::int64_t kSampleSize = 128;

void rename_mmdit_ends(Renaming& names) {
  names.tensor("pos_embed", "pos_embed.pos_embed");
  names.layer("x_embedder.proj", "pos_embed.proj");
  names.layer("t_embedder.mlp.0", "time_text_embed.timestep_embedder.linear_1");
  names.layer("t_embedder.mlp.2", "time_text_embed.timestep_embedder.linear_2");
  names.layer("y_embedder.mlp.0", "time_text_embed.text_embedder.linear_1");
  names.layer("y_embedder.mlp.2", "time_text_embed.text_embedder.linear_2");
  names.layer("context_embedder", "context_embedder");
  names.layer("final_layer.linear", "proj_out");
  // There shift and scale, here scale and shift.
  names.layer("final_layer.adaLN_modulation.1", "norm_out.linear", Form::halves_swapped);
}

void rename_mmdit_attention(Renaming& names, const std::string& from, const std::string& to) {
  names.split_layer(from + ".qkv", {to + ".to_q", to + ".to_k", to + ".to_v"});
  names.layer(from + ".ln_q", to + ".norm_q");
  names.layer(from + ".ln_k", to + ".norm_k");
  names.layer(from + ".proj", to + ".to_out.0");
}

void rename_block(Renaming& names, int i, bool last) {
  const std::string image = fmt::format("joint_blocks.{}.x_block", i);
  const std::string text = fmt::format("joint_blocks.{}.context_block", i);
  const std::string to = fmt::format("transformer_blocks.{}.", i);
  rename_mmdit_attention(names, image + ".attn", to + "attn");
  rename_mmdit_attention(names, image + ".attn2", to + "attn2");
  names.split_layer(text + ".attn.qkv",
                    {to + "attn.add_q_proj", to + "attn.add_k_proj", to + "attn.add_v_proj"});
  names.layer(text + ".attn.ln_q", to + "attn.norm_added_q");
  names.layer(text + ".attn.ln_k", to + "attn.norm_added_k");
  names.layer(text + ".attn.proj", to + "attn.to_add_out");
  names.layer(image + ".adaLN_modulation.1", to + "norm1.linear");
  // The last block's text has no more than scale and shift.
  names.layer(text + ".adaLN_modulation.1", to + "norm1_context.linear",
              last ? Form::halves_swapped : Form::as_is);
  names.layer(image + ".mlp.fc1", to + "ff.net.0.proj");
  names.layer(image + ".mlp.fc2", to + "ff.net.2");
  names.layer(text + ".mlp.fc1", to + "ff_context.net.0.proj");
  names.layer(text + ".mlp.fc2", to + "ff_context.net.2");
}

// The tensors that tell sizes, in one naming.
struct MmditSizeTensors {
  std::string patch, last, context, text, positions, norm;
};

void tell_mmdit(const Renaming& names, const MmditSizeTensors& tensors, int layers, boost::json::array dual,
                FileComponent& mmdit) {
  const std::int64_t width = names.size(tensors.patch, 4, 0);
  const std::int64_t patch = std::max<std::int64_t>(names.size(tensors.patch, 4, 2), 1);
  const bool normed = names.has(tensors.norm);
  const auto side = std::llround(std::sqrt(static_cast<double>(names.size(tensors.positions, 3, 1))));
  mmdit.told = {{"patch_size", patch},
                {"in_channels", names.size(tensors.patch, 4, 1)},
                {"out_channels", names.size(tensors.last, 2, 0) / (patch * patch)},
                {"num_layers", layers},
                {"joint_attention_dim", names.size(tensors.context, 2, 1)},
                {"caption_projection_dim", width},
                {"pooled_projection_dim", names.size(tensors.text, 2, 1)},
                {"pos_embed_max_size", side},
                {"dual_attention_layers", std::move(dual)},
                {"qk_norm", normed ? boost::json::value("rms_norm") : boost::json::value()}};
  const std::int64_t head =
      std::max<std::int64_t>(normed ? names.size(tensors.norm, 1, 0) : kMmditHeadSize, 1);
  boost::json::object& heads = normed ? mmdit.told : mmdit.likely;
  heads["attention_head_dim"] = head;
  heads["num_attention_heads"] = width / head;
  mmdit.likely["sample_size"] = kSampleSize;
  mmdit.weights = names.view();
}

FileComponent own_mmdit_component(Renaming& names) {
  FileComponent mmdit{"diffusers", "SD3Transformer2DModel"};
  const int layers = names.count("transformer_blocks");
  boost::json::array dual;
  for (int i = 0; i < layers; ++i) {
    if (names.has(fmt::format("transformer_blocks.{}.attn2.to_q.weight", i))) dual.emplace_back(i);
  }
  for (const char* const part : {"pos_embed.", "time_text_embed.", "context_embedder.", "transformer_blocks.",
                                 "norm_out.", "proj_out."})
    names.all_under(part, part);
  tell_mmdit(names,
             {.patch = "pos_embed.proj.weight",
              .last = "proj_out.weight",
              .context = "context_embedder.weight",
              .text = "time_text_embed.text_embedder.linear_1.weight",
              .positions = "pos_embed.pos_embed",
              .norm = "transformer_blocks.0.attn.norm_q.weight"},
             layers, std::move(dual), mmdit);
  return mmdit;
}

}  // namespace

FileComponent mmdit_component(Renaming& names) {
  if (names.has("pos_embed.proj.weight")) return own_mmdit_component(names);
  FileComponent mmdit{"diffusers", "SD3Transformer2DModel"};
  const int layers = names.count("joint_blocks");
  rename_mmdit_ends(names);
  boost::json::array dual;
  for (int i = 0; i < layers; ++i) {
    rename_block(names, i, i + 1 == layers);
    if (names.has(fmt::format("joint_blocks.{}.x_block.attn2.qkv.weight", i))) dual.emplace_back(i);
  }
  tell_mmdit(names,
             {.patch = "x_embedder.proj.weight",
              .last = "final_layer.linear.weight",
              .context = "context_embedder.weight",
              .text = "y_embedder.mlp.0.weight",
              .positions = "pos_embed",
              .norm = "joint_blocks.0.x_block.attn.ln_q.weight"},
             layers, std::move(dual), mmdit);
  return mmdit;
}

}  // namespace diffused::pipelines
