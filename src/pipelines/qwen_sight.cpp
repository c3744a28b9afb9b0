// Follows transformers 5.23.0, models/qwen2_vl/image_processing_pil_qwen2_vl.py, and calculate_dimensions of
// diffusers 0.42.1, pipelines/qwenimage/pipeline_qwenimage_edit.py.
#include "pipelines/qwen_sight.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "image/channels.h"
#include "image/resize.h"
#include "pipelines/latent_source.h"

namespace diffused::pipelines {
namespace {

// Rounded to the nearest, halves to the even one, as Python does.
int nearest_multiple(double length, int multiple) {
  return static_cast<int>(std::nearbyint(length / multiple)) * multiple;
}

bool read_colours(const boost::json::object& json, const char* key, std::array<float, 3>& colours) {
  const boost::json::value* const given = json.if_contains(key);
  if (given == nullptr) return true;
  const bool fit = given->is_array() && given->get_array().size() == colours.size() &&
                   std::ranges::all_of(given->get_array(), [](const auto& item) { return item.is_number(); });
  for (std::size_t i = 0; fit && i < colours.size(); ++i)
    colours[i] = static_cast<float>(given->get_array()[i].to_number<double>());
  return fit && std::ranges::find(colours, 0.0F) == colours.end();
}

bool read_count(const boost::json::object& json, const char* key, std::int64_t& count) {
  const boost::json::value* const given = json.if_contains(key);
  if (given == nullptr || given->is_null()) return true;
  if (given->is_int64()) count = given->get_int64();
  return given->is_int64() && count > 0;
}

}  // namespace

Result<PictureRules> read_picture_rules(const ModelFolder& folder) {
  const char* file = "processor/processor_config.json";
  TRY(boost::json::object json, folder.optional_json(file));
  if (const auto* const inner = json.if_contains("image_processor"); inner && inner->is_object()) {
    json = boost::json::object(inner->get_object());
  } else {
    file = "processor/preprocessor_config.json";
    TRY(json, folder.json(file));
  }
  PictureRules rules;
  bool good =
      read_colours(json, "image_mean", rules.mean) && read_colours(json, "image_std", rules.deviation);
  if (const auto* const size = json.if_contains("size"); size && size->is_object()) {
    good = good && read_count(size->get_object(), "shortest_edge", rules.pixels_min) &&
           read_count(size->get_object(), "longest_edge", rules.pixels_max);
  }
  good = good && read_count(json, "min_pixels", rules.pixels_min) &&
         read_count(json, "max_pixels", rules.pixels_max);
  if (good && rules.pixels_min <= rules.pixels_max) return rules;
  return folder.refuse(ErrorCode::data_loss, file,
                       "says no numbers that a picture can be brought to: size, image_mean and image_std");
}

PictureSize sized_to_area(double area, PictureSize size) {
  const double proportion = static_cast<double>(size.width) / size.height;
  const double width = std::sqrt(area * proportion);
  return {.width = nearest_multiple(width, kSizedMultiple),
          .height = nearest_multiple(width / proportion, kSizedMultiple)};
}

// smart_resize
PictureSize QwenSight::seen_size(PictureSize size) const {
  const auto side = static_cast<int>(network_->config().vision.vector_side());
  const double pixels = static_cast<double>(size.width) * size.height;
  PictureSize seen{.width = nearest_multiple(size.width, side),
                   .height = nearest_multiple(size.height, side)};
  const double area = static_cast<double>(seen.width) * seen.height;
  if (area > static_cast<double>(rules_.pixels_max)) {
    const double shrink = std::sqrt(pixels / static_cast<double>(rules_.pixels_max));
    const auto brought = [&](int length) {
      return std::max(side, static_cast<int>(std::floor(length / shrink / side)) * side);
    };
    return {.width = brought(size.width), .height = brought(size.height)};
  }
  if (area < static_cast<double>(rules_.pixels_min)) {
    const double grow = std::sqrt(static_cast<double>(rules_.pixels_min) / pixels);
    const auto brought = [&](int length) { return static_cast<int>(std::ceil(length * grow / side)) * side; };
    return {.width = brought(size.width), .height = brought(size.height)};
  }
  return seen;
}

std::int64_t QwenSight::vectors(const Image& picture) const {
  const PictureSize size = seen_size(sized_to_area(area_, {picture.width, picture.height}));
  const std::int64_t side = network_->config().vision.vector_side();
  return size.width / side * (size.height / side);
}

double QwenSight::flops(const Image& picture) const {
  const std::int64_t merge = network_->config().vision.spatial_merge_size;
  return network_->config().vision.flops(vectors(picture) * merge * merge);
}

at::Tensor QwenSight::features(const Image& picture) const {
  const PictureSize first = sized_to_area(area_, {picture.width, picture.height});
  const PictureSize seen = seen_size(first);
  const Image resized =
      resize_bicubic(resize_lanczos(to_rgb(picture), first.width, first.height), seen.width, seen.height);
  const auto colours = [](const std::array<float, 3>& values) {
    return at::tensor(at::ArrayRef<float>(values.data(), values.size())).view({1, 3, 1, 1});
  };
  const at::Tensor pixels = (to_unit_pixels(resized) - colours(rules_.mean)) / colours(rules_.deviation);
  return network_->vision().forward(pixels.to(options_));
}

at::Tensor QwenSight::placed(const at::Tensor& vectors, const std::vector<int>& ids,
                             const std::vector<std::shared_ptr<const Image>>& pictures) const {
  std::vector<at::Tensor> seen;
  for (const auto& picture : pictures) seen.push_back(features(*picture));
  std::vector<std::int64_t> places;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] == token_id()) places.push_back(static_cast<std::int64_t>(i));
  }
  // A text that was cut off has fewer places.
  const at::Tensor all = at::cat(seen, 1).narrow(1, 0, std::ssize(places));
  return vectors.index_copy(1, at::tensor(places, at::kLong).to(vectors.device()), all);
}

}  // namespace diffused::pipelines
