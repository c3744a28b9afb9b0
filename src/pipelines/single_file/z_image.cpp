// The names that the transformer of Z-Image has where its makers publish it, and those of Diffusers, which
// differ at the ends and in attention.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "pipelines/single_file/component.h"

namespace diffused::pipelines {
namespace {

using weights::Renaming;

constexpr std::array<int, 3> kZImageAxes = {32, 48, 48};
constexpr std::array<int, 3> kZImageAxesLengths = {1024, 512, 512};
constexpr std::int64_t kZImagePatchPixels = 4;

void rename_z_image_block(Renaming& names, const std::string& block) {
  const std::string attention = block + ".attention.";
  names.split_layer(attention + "qkv", {attention + "to_q", attention + "to_k", attention + "to_v"});
  names.layer(attention + "q_norm", attention + "norm_q");
  names.layer(attention + "k_norm", attention + "norm_k");
  names.layer(attention + "out", attention + "to_out.0");
  for (const char* const same : {".attention_norm1.", ".attention_norm2.", ".ffn_norm1.", ".ffn_norm2.",
                                 ".feed_forward.", ".adaLN_modulation."})
    names.all_under(block + same, block + same);
}

}  // namespace

FileComponent z_image_component(Renaming& names) {
  FileComponent z_image{"diffusers", "ZImageTransformer2DModel"};
  const bool own = names.has("all_x_embedder.2-1.weight");
  const std::string patches = own ? "all_x_embedder.2-1.weight" : "x_embedder.weight";
  const std::string norm = own ? "layers.0.attention.norm_q.weight" : "layers.0.attention.q_norm.weight";
  const std::int64_t dim = names.size(patches, 2, 0);
  z_image.told = {{"in_channels", names.size(patches, 2, 1) / kZImagePatchPixels},
                  {"dim", dim},
                  {"n_layers", names.count("layers")},
                  {"n_refiner_layers", names.count("noise_refiner")},
                  {"n_heads", dim / std::max<std::int64_t>(names.size(norm, 1, 0), 1)},
                  {"cap_feat_dim", names.size("cap_embedder.1.weight", 2, 1)}};
  z_image.likely = {{"axes_dims", json_list(kZImageAxes)}, {"axes_lens", json_list(kZImageAxesLengths)}};
  for (const char* const same : {"cap_embedder.", "t_embedder."}) names.all_under(same, same);
  for (const char* const token : {"x_pad_token", "cap_pad_token"}) names.tensor(token, token);
  for (const char* const list : {"noise_refiner", "context_refiner", "layers"}) {
    for (int i = 0; i < names.count(list); ++i) {
      const std::string block = fmt::format("{}.{}", list, i);
      if (own)
        names.all_under(block + ".", block + ".");
      else
        rename_z_image_block(names, block);
    }
  }
  for (const char* const end : {"x_embedder.", "final_layer."}) {
    const std::string to = fmt::format("all_{}2-1.", end);
    names.all_under(own ? to : end, to);
  }
  names.leave_out("norm_final.");  // of what it was made from
  z_image.weights = names.view();
  return z_image;
}

}  // namespace diffused::pipelines
