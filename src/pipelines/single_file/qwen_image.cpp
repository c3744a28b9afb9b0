// Qwen-Image in one file, under the names that Diffusers has too.
#include "pipelines/single_file/component.h"

#include <algorithm>

namespace diffused::pipelines {
namespace {

constexpr std::int64_t kQwenImageAxes[] = {16, 56, 56};
constexpr std::int64_t kQwenImagePatch = 2;

}  // namespace

FileComponent qwen_image_component(weights::Renaming& names) {
  FileComponent transformer{"diffusers", "QwenImageTransformer2DModel"};
  const std::int64_t head =
      std::max<std::int64_t>(names.size("transformer_blocks.0.attn.norm_q.weight", 1, 0), 1);
  transformer.told = {
      {"patch_size", kQwenImagePatch},
      {"in_channels", names.size("img_in.weight", 2, 1)},
      {"out_channels", names.size("proj_out.weight", 2, 0) / (kQwenImagePatch * kQwenImagePatch)},
      {"num_layers", names.count("transformer_blocks")},
      {"attention_head_dim", head},
      {"num_attention_heads", names.size("img_in.weight", 2, 0) / head},
      {"joint_attention_dim", names.size("txt_in.weight", 2, 1)}};
  transformer.likely["axes_dims_rope"] = json_list(kQwenImageAxes);
  for (const char* const part : {"img_in.", "txt_in.", "txt_norm.", "time_text_embed.", "transformer_blocks.",
                                 "norm_out.", "proj_out."})
    names.all_under(part, part);
  transformer.weights = names.view();
  return transformer;
}

}  // namespace diffused::pipelines
