// Random weights for an Mmdit of any size, under the names a checkpoint has.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>

#include "models/mmdit.h"
#include "support/safetensors.h"

namespace diffused::test {

class MmditWeights {
 public:
  // The same tensors for the same config, every time.
  static NamedTensors random(const models::MmditConfig& config) {
    at::manual_seed(1);
    return MmditWeights(config).tensors_;
  }

 private:
  explicit MmditWeights(const models::MmditConfig& c) {
    const std::int64_t d = c.inner_dim();
    add("pos_embed.proj.weight", {d, c.in_channels, c.patch_size, c.patch_size});
    add("pos_embed.proj.bias", {d});
    add("pos_embed.pos_embed", {1, c.pos_embed_max_size * c.pos_embed_max_size, d});
    linear("time_text_embed.timestep_embedder.linear_1", 256, d);
    linear("time_text_embed.timestep_embedder.linear_2", d, d);
    linear("time_text_embed.text_embedder.linear_1", c.pooled_projection_dim, d);
    linear("time_text_embed.text_embedder.linear_2", d, d);
    linear("context_embedder", c.joint_attention_dim, d);
    for (std::int64_t i = 0; i < c.num_layers; ++i) {
      block("transformer_blocks." + std::to_string(i) + ".", d, i == c.num_layers - 1);
    }
    linear("norm_out.linear", d, 2 * d);
    linear("proj_out", d, c.patch_size * c.patch_size * c.out_channels);
  }

  void block(const std::string& prefix, std::int64_t d, bool last) {
    linear(prefix + "norm1.linear", d, 6 * d);
    linear(prefix + "norm1_context.linear", d, (last ? 2 : 6) * d);
    for (const char* name : {"to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0"}) {
      linear(prefix + "attn." + name, d, d);
    }
    if (!last) linear(prefix + "attn.to_add_out", d, d);
    for (const char* name : {"ff", "ff_context"}) {
      if (last && name == std::string("ff_context")) continue;
      linear(prefix + name + ".net.0.proj", d, 4 * d);
      linear(prefix + name + ".net.2", 4 * d, d);
    }
  }

  void linear(const std::string& name, std::int64_t in, std::int64_t out) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }

  void add(const std::string& name, at::IntArrayRef shape) {
    const double fan_in = shape.size() > 1 ? at::zeros(shape.slice(1), at::kBool).numel() : 100;
    tensors_.emplace_back(name, at::randn(shape) / std::sqrt(fan_in));
  }

  NamedTensors tensors_;
};

}  // namespace diffused::test
