// Text encoders inside checkpoints: most keep the names of transformers behind a prefix.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>

#include "pipelines/single_file/component.h"

namespace diffused::pipelines {
namespace {

using weights::Form;
using weights::Renaming;

constexpr std::int64_t kClipHeadSize = 64;  // of every published CLIP
constexpr double kQwen3RopeTheta = 1e6;     // of every published Qwen3
constexpr int kEndToken = 2;                // by mistake; it stands for the largest id (models/clip_text.cpp)

struct ClipSizes {
  std::string tokens, positions, first_linear;  // names of tensors that tell sizes
  int layers = 0;
};

void tell_clip(const Renaming& names, const ClipSizes& sizes, const char* activation, FileComponent& clip) {
  const std::int64_t width = names.size(sizes.tokens, 2, 1);
  clip.told["vocab_size"] = names.size(sizes.tokens, 2, 0);
  clip.told["hidden_size"] = width;
  clip.told["intermediate_size"] = names.size(sizes.first_linear, 2, 0);
  clip.told["max_position_embeddings"] = names.size(sizes.positions, 2, 0);
  clip.told["num_hidden_layers"] = sizes.layers;
  clip.likely["num_attention_heads"] = std::max<std::int64_t>(width / kClipHeadSize, 1);
  clip.likely["hidden_act"] = activation;
  clip.likely["eos_token_id"] = kEndToken;
}

}  // namespace

FileComponent clip_component(Renaming& names, const char* activation, Projection projection) {
  FileComponent clip{"transformers",
                     projection == Projection::none ? "CLIPTextModel" : "CLIPTextModelWithProjection"};
  const std::string inside = "text_model.", layers = inside + "encoder.layers";
  tell_clip(names,
            {.tokens = inside + "embeddings.token_embedding.weight",
             .positions = inside + "embeddings.position_embedding.weight",
             .first_linear = layers + ".0.mlp.fc1.weight",
             .layers = names.count(layers)},
            activation, clip);
  names.all_under(inside, inside);
  const std::string matrix = "text_projection.weight";
  if (projection == Projection::stored) {
    names.tensor(matrix, matrix);
    clip.told["projection_dim"] = names.size(matrix, 2, 0);
  } else {
    names.leave_out(matrix);
  }
  if (projection == Projection::identity) {
    names.tensor(inside + "final_layer_norm.weight", matrix, Form::unit_matrix);
    clip.told["projection_dim"] = clip.told["hidden_size"];
  }
  clip.weights = names.view();
  return clip;
}

FileComponent open_clip_component(Renaming& names, bool all_layers) {
  FileComponent clip{"transformers", all_layers ? "CLIPTextModelWithProjection" : "CLIPTextModel"};
  const std::string blocks = "transformer.resblocks", inside = "text_model.";
  const int stored = names.count(blocks), layers = all_layers ? stored : stored - 1;
  tell_clip(names,
            {.tokens = "token_embedding.weight",
             .positions = "positional_embedding",
             .first_linear = blocks + ".0.mlp.c_fc.weight",
             .layers = layers},
            "gelu", clip);
  names.tensor("token_embedding.weight", inside + "embeddings.token_embedding.weight");
  names.tensor("positional_embedding", inside + "embeddings.position_embedding.weight");
  names.layer("ln_final", inside + "final_layer_norm");
  for (int i = 0; i < layers; ++i) {
    const std::string from = fmt::format("{}.{}.", blocks, i),
                      to = fmt::format("{}encoder.layers.{}.", inside, i);
    const std::string q = to + "self_attn.q_proj", k = to + "self_attn.k_proj", v = to + "self_attn.v_proj";
    names.split(from + "attn.in_proj_weight", {q + ".weight", k + ".weight", v + ".weight"});
    names.split(from + "attn.in_proj_bias", {q + ".bias", k + ".bias", v + ".bias"});
    names.layer(from + "attn.out_proj", to + "self_attn.out_proj");
    names.layer(from + "ln_1", to + "layer_norm1");
    names.layer(from + "ln_2", to + "layer_norm2");
    names.layer(from + "mlp.c_fc", to + "mlp.fc1");
    names.layer(from + "mlp.c_proj", to + "mlp.fc2");
  }
  if (all_layers) {
    names.tensor("text_projection", "text_projection.weight", Form::transposed);
    clip.told["projection_dim"] = names.size("text_projection", 2, 1);
  } else {
    names.leave_out(fmt::format("{}.{}.", blocks, layers));
    names.leave_out("text_projection");
  }
  clip.weights = names.view();
  return clip;
}

FileComponent t5_component(Renaming& names) {
  FileComponent t5{"transformers", "T5EncoderModel"};
  const std::string blocks = "encoder.block", first = blocks + ".0.layer.";
  const std::string attention = first + "0.SelfAttention.", perceptron = first + "1.DenseReluDense.";
  const std::int64_t heads = names.size(attention + "relative_attention_bias.weight", 2, 1);
  const bool gated = names.has(perceptron + "wi_0.weight");
  const bool shared = names.has("shared.weight");
  const std::string tokens = shared ? "shared.weight" : "encoder.embed_tokens.weight";
  t5.told = {
      {"vocab_size", names.size(tokens, 2, 0)},
      {"d_model", names.size(tokens, 2, 1)},
      {"num_heads", heads},
      {"d_kv", names.size(attention + "q.weight", 2, 0) / std::max<std::int64_t>(heads, 1)},
      {"d_ff", names.size(perceptron + (gated ? "wi_0.weight" : "wi.weight"), 2, 0)},
      {"num_layers", names.count(blocks)},
      {"relative_attention_num_buckets", names.size(attention + "relative_attention_bias.weight", 2, 0)}};
  t5.likely["feed_forward_proj"] = gated ? "gated-gelu" : "relu";
  names.all_under("shared.", "shared.");
  names.all_under("encoder.", "encoder.");
  t5.weights = names.view();
  return t5;
}

FileComponent qwen3_component(Renaming& names) {
  FileComponent qwen{"transformers", "Qwen3Model"};
  const std::string inside = "model.", layers = inside + "layers", first = layers + ".0.";
  const std::string attention = first + "self_attn.", tokens = inside + "embed_tokens.weight";
  const std::int64_t head = std::max<std::int64_t>(names.size(attention + "q_norm.weight", 1, 0), 1);
  qwen.told = {{"vocab_size", names.size(tokens, 2, 0)},
               {"hidden_size", names.size(tokens, 2, 1)},
               {"intermediate_size", names.size(first + "mlp.gate_proj.weight", 2, 0)},
               {"num_hidden_layers", names.count(layers)},
               {"head_dim", head},
               {"num_attention_heads", names.size(attention + "q_proj.weight", 2, 0) / head},
               {"num_key_value_heads", names.size(attention + "k_proj.weight", 2, 0) / head}};
  qwen.likely["rope_theta"] = kQwen3RopeTheta;
  names.all_under(inside, inside);
  names.leave_out("lm_head.");
  qwen.weights = names.view();
  return qwen;
}

}  // namespace diffused::pipelines
