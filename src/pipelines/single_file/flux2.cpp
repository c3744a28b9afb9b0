// The names that the transformer of FLUX.2 has where its makers publish it, and those of Diffusers.
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

constexpr std::array<int, 4> kFlux2Axes = {32, 32, 32, 32};

void rename_flux2_ends(Renaming& names) {
  for (const char* const embedder : {"time", "guidance"}) {
    const std::string to = fmt::format("time_guidance_embed.{}_embedder.",
                                       std::string_view(embedder) == "time" ? "timestep" : embedder);
    names.layer(fmt::format("{}_in.in_layer", embedder), to + "linear_1");
    names.layer(fmt::format("{}_in.out_layer", embedder), to + "linear_2");
  }
  for (const char* const part :
       {"double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation"})
    names.layer(fmt::format("{}.lin", part), fmt::format("{}.linear", part));
  names.layer("txt_in", "context_embedder");
  names.layer("img_in", "x_embedder");
  names.layer("final_layer.linear", "proj_out");
  // There shift and scale, here scale and shift.
  names.layer("final_layer.adaLN_modulation.1", "norm_out.linear", Form::halves_swapped);
}

// One of the two streams of a block. `added`: as Diffusers calls the layers of the text's attention.
void rename_flux2_stream(Renaming& names, const std::string& from, const std::string& to, bool added) {
  const std::string attention = to + "attn.", norm = added ? "norm_added_" : "norm_";
  const auto linear = [&](char letter) {
    return attention + (added ? fmt::format("add_{}_proj", letter) : fmt::format("to_{}", letter));
  };
  names.split_layer(from + "_attn.qkv", {linear('q'), linear('k'), linear('v')});
  names.tensor(from + "_attn.norm.query_norm.scale", attention + norm + "q.weight");
  names.tensor(from + "_attn.norm.key_norm.scale", attention + norm + "k.weight");
  names.layer(from + "_attn.proj", attention + (added ? "to_add_out" : "to_out.0"));
  names.layer(from + "_mlp.0", to + (added ? "ff_context" : "ff") + ".linear_in");
  names.layer(from + "_mlp.2", to + (added ? "ff_context" : "ff") + ".linear_out");
}

void rename_flux2_single(Renaming& names, int i) {
  const std::string from = fmt::format("single_blocks.{}.", i);
  const std::string to = fmt::format("single_transformer_blocks.{}.attn.", i);
  names.layer(from + "linear1", to + "to_qkv_mlp_proj");
  names.layer(from + "linear2", to + "to_out");
  names.tensor(from + "norm.query_norm.scale", to + "norm_q.weight");
  names.tensor(from + "norm.key_norm.scale", to + "norm_k.weight");
}

// The tensors that tell sizes, in one naming.
struct Flux2SizeTensors {
  std::string image, last, text, norm, time, guidance, single_out;
  int doubles = 0, singles = 0;
};

void tell_flux2(const Renaming& names, const Flux2SizeTensors& tensors, FileComponent& flux) {
  const std::int64_t width = names.size(tensors.image, 2, 0);
  const std::int64_t head = std::max<std::int64_t>(names.size(tensors.norm, 1, 0), 1);
  const auto hidden = static_cast<double>(names.size(tensors.single_out, 2, 1) - width);
  flux.told = {{"patch_size", 1},
               {"in_channels", names.size(tensors.image, 2, 1)},
               {"out_channels", names.size(tensors.last, 2, 0)},
               {"num_layers", tensors.doubles},
               {"num_single_layers", tensors.singles},
               {"attention_head_dim", head},
               {"num_attention_heads", width / head},
               {"joint_attention_dim", names.size(tensors.text, 2, 1)},
               {"timestep_guidance_channels", names.size(tensors.time, 2, 1)},
               {"guidance_embeds", names.has(tensors.guidance)}};
  flux.likely = {{"axes_dims_rope", json_list(kFlux2Axes)},
                 {"mlp_ratio", hidden / static_cast<double>(std::max<std::int64_t>(width, 1))}};
  flux.weights = names.view();
}

FileComponent own_flux2_component(Renaming& names) {
  FileComponent flux{"diffusers", "Flux2Transformer2DModel"};
  for (const char* const part :
       {"x_embedder.", "context_embedder.", "time_guidance_embed.", "double_stream_modulation_img.",
        "double_stream_modulation_txt.", "single_stream_modulation.", "transformer_blocks.",
        "single_transformer_blocks.", "norm_out.", "proj_out."})
    names.all_under(part, part);
  const std::string single = "single_transformer_blocks.0.attn.", embed = "time_guidance_embed.";
  tell_flux2(names,
             {.image = "x_embedder.weight",
              .last = "proj_out.weight",
              .text = "context_embedder.weight",
              .norm = single + "norm_q.weight",
              .time = embed + "timestep_embedder.linear_1.weight",
              .guidance = embed + "guidance_embedder.linear_1.weight",
              .single_out = single + "to_out.weight",
              .doubles = names.count("transformer_blocks"),
              .singles = names.count("single_transformer_blocks")},
             flux);
  return flux;
}

}  // namespace

FileComponent flux2_component(Renaming& names) {
  if (names.has("x_embedder.weight")) return own_flux2_component(names);
  FileComponent flux{"diffusers", "Flux2Transformer2DModel"};
  const int doubles = names.count("double_blocks"), singles = names.count("single_blocks");
  rename_flux2_ends(names);
  for (int i = 0; i < doubles; ++i) {
    const std::string from = fmt::format("double_blocks.{}.", i),
                      to = fmt::format("transformer_blocks.{}.", i);
    rename_flux2_stream(names, from + "img", to, /*added=*/false);
    rename_flux2_stream(names, from + "txt", to, /*added=*/true);
  }
  for (int i = 0; i < singles; ++i) rename_flux2_single(names, i);
  tell_flux2(names,
             {.image = "img_in.weight",
              .last = "final_layer.linear.weight",
              .text = "txt_in.weight",
              .norm = "single_blocks.0.norm.query_norm.scale",
              .time = "time_in.in_layer.weight",
              .guidance = "guidance_in.in_layer.weight",
              .single_out = "single_blocks.0.linear2.weight",
              .doubles = doubles,
              .singles = singles},
             flux);
  return flux;
}

}  // namespace diffused::pipelines
