// The eyes of Qwen2.5-VL (transformers' Qwen2_5_VisionTransformerPretrainedModel): a picture to the vectors
// that stand for it among the words. Most of its layers see a token's neighbours alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "models/qwen3.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of "vision_config" in text_encoder/config.json that shape the network; the defaults are those of
// transformers' Qwen2_5_VLVisionConfig.
struct Qwen25VlVisionConfig {
  std::int64_t depth = 32;
  std::int64_t hidden_size = 3584;
  std::int64_t intermediate_size = 3420;
  std::int64_t num_heads = 16;
  std::int64_t patch_size = 14;         // pixels of a patch's side
  std::int64_t spatial_merge_size = 2;  // patches of a vector's side
  std::int64_t temporal_patch_size = 2;
  std::int64_t window_size = 112;  // pixels of the side of what most layers see
  std::int64_t out_hidden_size = 3584;
  std::vector<std::int64_t> fullatt_block_indexes = {7, 15, 23, 31};  // of the layers that see all

  // Unknown keys are ignored. Errors as Qwen3Config::from_json.
  static Result<Qwen25VlVisionConfig> from_json(const boost::json::object& json);

  bool operator==(const Qwen25VlVisionConfig&) const = default;

  // Pixels of the side of what becomes one vector.
  std::int64_t vector_side() const { return patch_size * spatial_merge_size; }
  // Multiply-adds counted twice, for a picture of so many patches.
  double flops(std::int64_t patches) const;
};

class Qwen25VlVisionBlock;

// Immutable once built; const methods from any thread (in practice the device thread).
class Qwen25VlVision {
 public:
  // Reads every tensor under `scope`. Throws weights::LoadError.
  Qwen25VlVision(const Qwen25VlVisionConfig& config, const weights::Scope& scope);
  ~Qwen25VlVision();
  Qwen25VlVision(Qwen25VlVision&&) noexcept;

  // picture: [1, 3, H, W] in the weights' dtype, normalised, its sides multiples of vector_side(). Returns
  // its vectors row by row, [1, H * W / vector_side()², out_hidden_size].
  at::Tensor forward(const at::Tensor& picture) const;

  const Qwen25VlVisionConfig& config() const { return config_; }

 private:
  Qwen25VlVisionConfig config_;
  nn::Linear patch_embed_;
  std::vector<Qwen25VlVisionBlock> blocks_;
  nn::RmsNorm ln_q_;
  nn::Linear mlp_in_, mlp_out_;
};

// What text_encoder/config.json says of a whole Qwen2.5-VL.
struct Qwen25VlConfig {
  Qwen3Config decoder;
  Qwen25VlVisionConfig vision;
  int image_token_id = 151655;  // what stands for each vector of a picture among the ids

  // Errors as those of the two.
  static Result<Qwen25VlConfig> from_json(const boost::json::object& json);

  bool operator==(const Qwen25VlConfig&) const = default;
};

// Both of its networks, which are in one file.
class Qwen25Vl {
 public:
  Qwen25Vl(const Qwen25VlConfig& config, const weights::Scope& scope);

  const Qwen3& text() const { return text_; }
  const Qwen25VlVision& vision() const { return vision_; }
  const Qwen25VlConfig& config() const { return config_; }

 private:
  Qwen25VlConfig config_;
  Qwen3 text_;
  Qwen25VlVision vision_;
};

}  // namespace diffused::models
