// Random weights for a FluxTransformer of any size, under the names a checkpoint has.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>

#include "models/flux_transformer.h"
#include "support/safetensors.h"

namespace diffused::test {

class FluxWeights {
 public:
  // The same tensors for the same config, every time.
  static NamedTensors random(const models::FluxTransformerConfig& config) {
    at::manual_seed(1);
    return FluxWeights(config).tensors_;
  }

 private:
  explicit FluxWeights(const models::FluxTransformerConfig& c) : head_dim_(c.attention_head_dim) {
    const std::int64_t d = c.inner_dim();
    embedder("timestep_embedder", 256, d);
    if (c.guidance_embeds) embedder("guidance_embedder", 256, d);
    embedder("text_embedder", c.pooled_projection_dim, d);
    linear("context_embedder", c.joint_attention_dim, d);
    linear("x_embedder", c.in_channels, d);
    for (std::int64_t i = 0; i < c.num_layers; ++i) {
      double_block("transformer_blocks." + std::to_string(i) + ".", d);
    }
    for (std::int64_t i = 0; i < c.num_single_layers; ++i) {
      single_block("single_transformer_blocks." + std::to_string(i) + ".", d);
    }
    linear("norm_out.linear", d, 2 * d);
    linear("proj_out", d, c.out_channels);
  }

  void embedder(const std::string& name, std::int64_t in, std::int64_t d) {
    linear("time_text_embed." + name + ".linear_1", in, d);
    linear("time_text_embed." + name + ".linear_2", d, d);
  }

  void double_block(const std::string& prefix, std::int64_t d) {
    for (const char* name : {"norm1.linear", "norm1_context.linear"}) linear(prefix + name, d, 6 * d);
    for (const char* name :
         {"to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"}) {
      linear(prefix + "attn." + name, d, d);
    }
    for (const char* name : {"norm_q", "norm_k", "norm_added_q", "norm_added_k"})
      norm(prefix + "attn." + name);
    for (const char* name : {"ff", "ff_context"}) {
      linear(prefix + name + ".net.0.proj", d, 4 * d);
      linear(prefix + name + ".net.2", 4 * d, d);
    }
  }

  void single_block(const std::string& prefix, std::int64_t d) {
    linear(prefix + "norm.linear", d, 3 * d);
    for (const char* name : {"to_q", "to_k", "to_v"}) linear(prefix + "attn." + name, d, d);
    for (const char* name : {"norm_q", "norm_k"}) norm(prefix + "attn." + name);
    linear(prefix + "proj_mlp", d, 4 * d);
    linear(prefix + "proj_out", 5 * d, d);
  }

  void linear(const std::string& name, std::int64_t in, std::int64_t out) {
    tensors_.emplace_back(name + ".weight", at::randn({out, in}) / std::sqrt(static_cast<double>(in)));
    tensors_.emplace_back(name + ".bias", at::randn({out}) / 10);
  }

  void norm(const std::string& name) {
    tensors_.emplace_back(name + ".weight", 1 + at::randn({head_dim_}) / 5);
  }

  std::int64_t head_dim_;
  NamedTensors tensors_;
};

}  // namespace diffused::test
