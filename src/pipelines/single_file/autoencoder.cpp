// The names that the autoencoder had before Diffusers; its decoder counts levels from the largest picture.
// And Diffusers' own.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "pipelines/single_file/component.h"

namespace diffused::pipelines {
namespace {

using weights::Form;
using weights::Renaming;

void rename_vae_resnet(Renaming& names, const std::string& from, const std::string& to) {
  for (const char* const layer : {".norm1", ".conv1", ".norm2", ".conv2"})
    names.layer(from + layer, to + layer);
  names.layer(from + ".nin_shortcut", to + ".conv_shortcut");
}

// What encoder and decoder have in common: their ends and the middle.
void rename_half(Renaming& names, const std::string& half) {
  for (const char* const layer : {".conv_in", ".conv_out"}) names.layer(half + layer, half + layer);
  names.layer(half + ".norm_out", half + ".conv_norm_out");
  const std::string from = half + ".mid.", to = half + ".mid_block.", attention = to + "attentions.0.";
  rename_vae_resnet(names, from + "block_1", to + "resnets.0");
  rename_vae_resnet(names, from + "block_2", to + "resnets.1");
  names.layer(from + "attn_1.norm", attention + "group_norm");
  names.layer(from + "attn_1.q", attention + "to_q", Form::matrix);
  names.layer(from + "attn_1.k", attention + "to_k", Form::matrix);
  names.layer(from + "attn_1.v", attention + "to_v", Form::matrix);
  names.layer(from + "attn_1.proj_out", attention + "to_out.0", Form::matrix);
}

struct AutoencoderShape {
  int levels = 0, layers = 0;
  boost::json::array channels, decoder_channels;  // from the largest picture
  bool middle_attention = false;
};

// FLUX.2's autoencoder normalises its latents by what it learned, and has the same names for that everywhere.
void take_batch_norm(Renaming& names, FileComponent& vae) {
  if (!names.has("bn.running_mean")) return;
  vae.class_name = "AutoencoderKLFlux2";
  names.all_under("bn.", "bn.");
}

// What either naming tells.
void tell_autoencoder(const Renaming& names, AutoencoderShape shape, LatentScale scale, FileComponent& vae) {
  boost::json::array down, up;
  for (int i = 0; i < shape.levels; ++i) {
    down.emplace_back("DownEncoderBlock2D");
    up.emplace_back("UpDecoderBlock2D");
  }
  vae.told = {{"in_channels", names.size("encoder.conv_in.weight", 4, 1)},
              {"out_channels", names.size("decoder.conv_out.weight", 4, 0)},
              {"latent_channels", names.size("decoder.conv_in.weight", 4, 1)},
              {"layers_per_block", shape.layers},
              {"block_out_channels", shape.channels},
              {"down_block_types", std::move(down)},
              {"up_block_types", std::move(up)},
              {"use_quant_conv", names.has("quant_conv.weight") || names.has("encoder.quant_conv.weight")},
              {"use_post_quant_conv",
               names.has("post_quant_conv.weight") || names.has("decoder.post_quant_conv.weight")},
              {"mid_block_add_attention", shape.middle_attention}};
  if (shape.decoder_channels != shape.channels)
    vae.told["decoder_block_out_channels"] = std::move(shape.decoder_channels);
  vae.likely = {{"scaling_factor", scale.factor}, {"shift_factor", scale.shift}};
  vae.weights = names.view();
}

FileComponent own_autoencoder_component(Renaming& names, LatentScale scale) {
  FileComponent vae{"diffusers", "AutoencoderKL"};
  const std::string blocks = "encoder.down_blocks";
  AutoencoderShape shape{.levels = names.count(blocks),
                         .layers = names.count(blocks + ".0.resnets"),
                         .channels = {},
                         .decoder_channels = {},
                         .middle_attention = names.has_under("decoder.mid_block.attentions.0.")};
  for (int i = 0; i < shape.levels; ++i) {
    const auto channels = [&](const std::string& list, int block) {
      return names.size(fmt::format("{}.{}.resnets.0.conv1.weight", list, block), 4, 0);
    };
    shape.channels.emplace_back(channels(blocks, i));
    shape.decoder_channels.emplace_back(channels("decoder.up_blocks", shape.levels - 1 - i));
  }
  take_batch_norm(names, vae);
  for (const char* const part : {"encoder.", "decoder.", "quant_conv.", "post_quant_conv."})
    names.all_under(part, part);
  tell_autoencoder(names, std::move(shape), scale, vae);
  return vae;
}

}  // namespace

FileComponent autoencoder_component(Renaming& names, LatentScale scale) {
  if (names.has("decoder.conv_norm_out.weight")) return own_autoencoder_component(names, scale);
  FileComponent vae{"diffusers", "AutoencoderKL"};
  rename_half(names, "encoder");
  rename_half(names, "decoder");
  for (const char* const half : {"", "encoder."}) names.layer(half + std::string("quant_conv"), "quant_conv");
  for (const char* const half : {"", "decoder."})
    names.layer(half + std::string("post_quant_conv"), "post_quant_conv");
  take_batch_norm(names, vae);
  const int levels = names.count("encoder.down");
  AutoencoderShape shape{.levels = levels,
                         .layers = names.count("encoder.down.0.block"),
                         .channels = {},
                         .decoder_channels = {},
                         .middle_attention = names.has("decoder.mid.attn_1.q.weight")};
  for (int i = 0; i < levels; ++i) {
    const std::string from = fmt::format("encoder.down.{}.", i),
                      to = fmt::format("encoder.down_blocks.{}.", i);
    for (int j = 0; j < names.count(from + "block"); ++j)
      rename_vae_resnet(names, fmt::format("{}block.{}", from, j), fmt::format("{}resnets.{}", to, j));
    names.layer(from + "downsample.conv", to + "downsamplers.0.conv");
    const std::string up_from = fmt::format("decoder.up.{}.", i);
    const std::string up_to = fmt::format("decoder.up_blocks.{}.", levels - 1 - i);
    for (int j = 0; j < names.count(up_from + "block"); ++j)
      rename_vae_resnet(names, fmt::format("{}block.{}", up_from, j), fmt::format("{}resnets.{}", up_to, j));
    names.layer(up_from + "upsample.conv", up_to + "upsamplers.0.conv");
    shape.channels.emplace_back(names.size(from + "block.0.conv1.weight", 4, 0));
    shape.decoder_channels.emplace_back(names.size(up_from + "block.0.conv1.weight", 4, 0));
  }
  tell_autoencoder(names, std::move(shape), scale, vae);
  return vae;
}

}  // namespace diffused::pipelines
