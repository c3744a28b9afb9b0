// A tiny FLUX folder: the text encoders, tokenizers and autoencoder of the tiny Stable Diffusion 3 model,
// with a random denoiser.
#pragma once

#include "pipelines/tiny_model.h"
#include "support/flux_weights.h"

namespace diffused::pipelines {

class TinyFlux : public TinyModel {
 public:
  // The channels that FLUX.1 Fill sees besides the latents: masked picture and mask, packed, for this
  // autoencoder.
  static constexpr std::int64_t kFillChannels = 4 * (16 + 8 * 8);

  explicit TinyFlux(bool guidance_embeds = true, bool fills = false) {
    for (const std::string component : {"tokenizer", "text_encoder"}) {
      std::filesystem::remove_all(path() / (component + "_2"));
      std::filesystem::rename(path() / (component + "_3"), path() / (component + "_2"));
    }
    const auto width = [&](const char* component, const char* key) {
      return boost::json::parse(read_file(path() / component / "config.json")).at(key).as_int64();
    };
    const models::FluxTransformerConfig config{.in_channels = 64 + (fills ? kFillChannels : 0),
                                               .out_channels = 64,
                                               .num_layers = 1,
                                               .num_single_layers = 2,
                                               .attention_head_dim = 16,
                                               .num_attention_heads = 2,
                                               .joint_attention_dim = width("text_encoder_2", "d_model"),
                                               .pooled_projection_dim = width("text_encoder", "hidden_size"),
                                               .guidance_embeds = guidance_embeds,
                                               .axes_dims_rope = {4, 6, 6}};
    write_file(path() / "transformer/diffusion_pytorch_model.safetensors",
               test::safetensors_file(test::FluxWeights::random(config)));
    edit("transformer/config.json", [&](boost::json::object& json) {
      json = {{"in_channels", config.in_channels},
              {"out_channels", config.out_channels},
              {"num_layers", config.num_layers},
              {"num_single_layers", config.num_single_layers},
              {"attention_head_dim", config.attention_head_dim},
              {"num_attention_heads", config.num_attention_heads},
              {"joint_attention_dim", config.joint_attention_dim},
              {"pooled_projection_dim", config.pooled_projection_dim},
              {"guidance_embeds", config.guidance_embeds},
              {"axes_dims_rope", boost::json::array{4, 6, 6}}};
    });
    edit("model_index.json", [&](boost::json::object& index) {
      index = {{"_class_name", fills ? "FluxFillPipeline" : "FluxPipeline"},
               {"scheduler", {"diffusers", "FlowMatchEulerDiscreteScheduler"}},
               {"text_encoder", {"transformers", "CLIPTextModel"}},
               {"text_encoder_2", {"transformers", "T5EncoderModel"}},
               {"tokenizer", {"transformers", "CLIPTokenizer"}},
               {"tokenizer_2", {"transformers", "T5TokenizerFast"}},
               {"transformer", {"diffusers", "FluxTransformer2DModel"}},
               {"vae", {"diffusers", "AutoencoderKL"}}};
    });
  }

  std::unique_ptr<Pipeline> load(const std::string& dtype = "fp32") const {
    return load_tiny(path(), {.dtype = dtype, .variant = ""});
  }
};

}  // namespace diffused::pipelines
