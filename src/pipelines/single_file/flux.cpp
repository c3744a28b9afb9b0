// The names that the transformer of FLUX has where its makers publish it, and those of Diffusers.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "pipelines/single_file/component.h"

namespace diffused::pipelines {
namespace {

using weights::Form;
using weights::Renaming;

constexpr std::array<int, 3> kAxes = {16, 56, 56};

void rename_embedder(Renaming& names, const std::string& from, const std::string& to) {
  names.layer(from + ".in_layer", "time_text_embed." + to + ".linear_1");
  names.layer(from + ".out_layer", "time_text_embed." + to + ".linear_2");
}

void rename_flux_ends(Renaming& names) {
  rename_embedder(names, "time_in", "timestep_embedder");
  rename_embedder(names, "vector_in", "text_embedder");
  rename_embedder(names, "guidance_in", "guidance_embedder");
  names.layer("txt_in", "context_embedder");
  names.layer("img_in", "x_embedder");
  names.layer("final_layer.linear", "proj_out");
  // There shift and scale, here scale and shift.
  names.layer("final_layer.adaLN_modulation.1", "norm_out.linear", Form::halves_swapped);
}

// One of the two streams of a block. `added`: as Diffusers calls the layers of the text's attention.
void rename_stream(Renaming& names, const std::string& from, const std::string& to, bool added) {
  const std::string attention = to + "attn.", norm = added ? "norm_added_" : "norm_", proj = "_proj";
  const auto linear = [&](const char* letter) {
    return attention + (added ? "add_" + std::string(letter) + proj : "to_" + std::string(letter));
  };
  names.split_layer(from + "_attn.qkv", {linear("q"), linear("k"), linear("v")});
  names.tensor(from + "_attn.norm.query_norm.scale", attention + norm + "q.weight");
  names.tensor(from + "_attn.norm.key_norm.scale", attention + norm + "k.weight");
  names.layer(from + "_attn.proj", attention + (added ? "to_add_out" : "to_out.0"));
  names.layer(from + "_mod.lin", to + (added ? "norm1_context.linear" : "norm1.linear"));
  names.layer(from + "_mlp.0", to + (added ? "ff_context" : "ff") + ".net.0.proj");
  names.layer(from + "_mlp.2", to + (added ? "ff_context" : "ff") + ".net.2");
}

void rename_single(Renaming& names, int i, std::int64_t width) {
  const std::string from = fmt::format("single_blocks.{}.", i);
  const std::string to = fmt::format("single_transformer_blocks.{}.", i);
  names.layer(from + "modulation.lin", to + "norm.linear");
  const std::string linear = from + "linear1";
  if (names.has(linear + ".weight")) {
    names.split_layer(linear, {to + "attn.to_q", to + "attn.to_k", to + "attn.to_v", to + "proj_mlp"},
                      {width, width, width, names.size(linear + ".weight", 2, 0) - 3 * width});
  }
  names.tensor(from + "norm.query_norm.scale", to + "attn.norm_q.weight");
  names.tensor(from + "norm.key_norm.scale", to + "attn.norm_k.weight");
  names.layer(from + "linear2", to + "proj_out");
}

FileComponent own_flux_component(Renaming& names) {
  FileComponent flux{"diffusers", "FluxTransformer2DModel"};
  const std::int64_t width = names.size("x_embedder.weight", 2, 0);
  const int doubles = names.count("transformer_blocks"), singles = names.count("single_transformer_blocks");
  const std::string block = doubles > 0 ? "transformer_blocks.0" : "single_transformer_blocks.0";
  const std::int64_t head = std::max<std::int64_t>(names.size(block + ".attn.norm_q.weight", 1, 0), 1);
  const std::string embed = "time_text_embed.";
  flux.told = {{"patch_size", 1},
               {"in_channels", names.size("x_embedder.weight", 2, 1)},
               {"out_channels", names.size("proj_out.weight", 2, 0)},
               {"num_layers", doubles},
               {"num_single_layers", singles},
               {"attention_head_dim", head},
               {"num_attention_heads", width / head},
               {"joint_attention_dim", names.size("context_embedder.weight", 2, 1)},
               {"pooled_projection_dim", names.size(embed + "text_embedder.linear_1.weight", 2, 1)},
               {"guidance_embeds", names.has(embed + "guidance_embedder.linear_1.weight")}};
  flux.likely["axes_dims_rope"] = json_list(kAxes);
  for (const char* const part :
       {"x_embedder.", "context_embedder.", "time_text_embed.", "transformer_blocks.",
        "single_transformer_blocks.", "norm_out.", "proj_out."})
    names.all_under(part, part);
  flux.weights = names.view();
  return flux;
}

}  // namespace

FileComponent flux_component(Renaming& names) {
  if (names.has("x_embedder.weight")) return own_flux_component(names);
  FileComponent flux{"diffusers", "FluxTransformer2DModel"};
  const std::int64_t width = names.size("img_in.weight", 2, 0);
  const int doubles = names.count("double_blocks"), singles = names.count("single_blocks");
  rename_flux_ends(names);
  for (int i = 0; i < doubles; ++i) {
    const std::string from = fmt::format("double_blocks.{}.", i),
                      to = fmt::format("transformer_blocks.{}.", i);
    rename_stream(names, from + "img", to, /*added=*/false);
    rename_stream(names, from + "txt", to, /*added=*/true);
  }
  for (int i = 0; i < singles; ++i) rename_single(names, i, width);
  const std::string norm = doubles > 0 ? "double_blocks.0.img_attn.norm" : "single_blocks.0.norm";
  const std::int64_t head = std::max<std::int64_t>(names.size(norm + ".query_norm.scale", 1, 0), 1);
  flux.told = {{"patch_size", 1},
               {"in_channels", names.size("img_in.weight", 2, 1)},
               {"out_channels", names.size("final_layer.linear.weight", 2, 0)},
               {"num_layers", doubles},
               {"num_single_layers", singles},
               {"attention_head_dim", head},
               {"num_attention_heads", width / head},
               {"joint_attention_dim", names.size("txt_in.weight", 2, 1)},
               {"pooled_projection_dim", names.size("vector_in.in_layer.weight", 2, 1)},
               {"guidance_embeds", names.has("guidance_in.in_layer.weight")}};
  flux.likely["axes_dims_rope"] = json_list(kAxes);
  flux.weights = names.view();
  return flux;
}

}  // namespace diffused::pipelines
