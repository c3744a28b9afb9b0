// How Qwen2.5-VL sees the pictures among the words of a prompt.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/image.h"
#include "models/qwen2_5_vl_vision.h"
#include "pipelines/model_folder.h"

namespace diffused::pipelines {

// What a folder's `processor` does to a picture.
struct PictureRules {
  std::int64_t pixels_min = 56 * 56, pixels_max = 28 * 28 * 1280;
  std::array<float, 3> mean = {0.48145466F, 0.4578275F, 0.40821073F};
  std::array<float, 3> deviation = {0.26862954F, 0.26130258F, 0.27577711F};
};

// Reads processor/preprocessor_config.json, or "image_processor" of processor/processor_config.json. Errors:
// not_found without either, data_loss for numbers that are none.
Result<PictureRules> read_picture_rules(const ModelFolder& folder);

// Width and height in pixels.
struct PictureSize {
  int width = 0, height = 0;
};
// Of about `area` pixels in the same proportion, each side a multiple of 32; Diffusers' calculate_dimensions.
inline constexpr int kSizedMultiple = 32;
PictureSize sized_to_area(double area, PictureSize size);

// Immutable once loaded. features and placed: device thread only; the others from any thread.
class QwenSight {
 public:
  // area: about how many pixels a picture is brought to before the rules are obeyed.
  QwenSight(std::shared_ptr<const models::Qwen25Vl> network, const PictureRules& rules, double area,
            const at::TensorOptions& options)
      : network_(std::move(network)), rules_(rules), area_(area), options_(options) {}

  int token_id() const { return network_->config().image_token_id; }
  // How many vectors it becomes, and the work of that.
  std::int64_t vectors(const Image& picture) const;
  double flops(const Image& picture) const;

  // `vectors` [1, L, hidden_size] of these ids, with those of the pictures in their places.
  at::Tensor placed(const at::Tensor& vectors, const std::vector<int>& ids,
                    const std::vector<std::shared_ptr<const Image>>& pictures) const;

 private:
  PictureSize seen_size(PictureSize size) const;
  at::Tensor features(const Image& picture) const;  // [1, vectors, hidden_size]

  std::shared_ptr<const models::Qwen25Vl> network_;
  PictureRules rules_;
  double area_;
  at::TensorOptions options_;
};

}  // namespace diffused::pipelines
