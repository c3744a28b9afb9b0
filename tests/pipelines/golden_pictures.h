// The pictures of tests/pipelines/data, which tools/golden/pictures.py makes with real Diffusers.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/value_to.hpp>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pipelines/tiny_model.h"
#include "weights/checkpoint.h"

namespace diffused::pipelines {

namespace json = boost::json;

inline std::shared_ptr<weights::Checkpoint> golden_pictures() {
  return weights::Checkpoint::open(kData, {.stem = "pictures", .variant = ""}).value();
}

inline json::array golden_cases() { return json::parse(read_file(kData / "pictures.json")).as_array(); }

// [H, W, C] uint8.
inline at::Tensor golden_picture(weights::Checkpoint& golden, const std::string& name) {
  return golden.tensor(name, {-1, -1, -1}, at::kByte, at::kCPU);
}

inline Image image_of(const at::Tensor& pixels) {
  const auto* const first = pixels.data_ptr<std::uint8_t>();
  return {static_cast<int>(pixels.size(1)),
          static_cast<int>(pixels.size(0)),
          static_cast<int>(pixels.size(2)),
          {first, first + pixels.numel()}};
}

template <typename T>
std::optional<T> optional_of(const json::object& object, const char* key) {
  const json::value* const value = object.if_contains(key);
  return value ? std::optional<T>(json::value_to<T>(*value)) : std::nullopt;
}

// The request of a case, by the names of GenerateRequest; what it starts from is among the pictures.
inline GenerateRequest golden_request(weights::Checkpoint& golden, const boost::json::value& item) {
  const json::object& object = item.at("request").as_object();
  GenerateRequest request;
  request.prompt = object.at("prompt").as_string();
  request.prompt_2 = optional_of<std::string>(object, "prompt_2");
  request.prompt_3 = optional_of<std::string>(object, "prompt_3");
  request.negative_prompt = optional_of<std::string>(object, "negative_prompt");
  request.negative_prompt_2 = optional_of<std::string>(object, "negative_prompt_2");
  request.negative_prompt_3 = optional_of<std::string>(object, "negative_prompt_3");
  request.width = optional_of<int>(object, "width");
  request.height = optional_of<int>(object, "height");
  request.num_inference_steps = optional_of<int>(object, "num_inference_steps");
  request.guidance_scale = optional_of<double>(object, "guidance_scale");
  request.clip_skip = optional_of<int>(object, "clip_skip");
  request.max_sequence_length = optional_of<int>(object, "max_sequence_length");
  request.strength = optional_of<double>(object, "strength");
  request.scheduler = optional_of<std::string>(object, "scheduler").value_or("");
  const std::string name(item.at("name").as_string());
  if (object.contains("image"))
    request.init_image = std::make_shared<const Image>(image_of(golden_picture(golden, name + ".image")));
  if (object.contains("mask"))
    request.mask = std::make_shared<const Image>(image_of(golden_picture(golden, name + ".mask")));
  request.seeds = json::value_to<std::vector<std::uint64_t>>(object.at("seeds"));
  return request;
}

inline std::vector<int> differences(const Image& image, const at::Tensor& expected) {
  EXPECT_EQ(expected.sizes(), (std::vector<std::int64_t>{image.height, image.width, image.channels}));
  std::vector<int> values;
  const auto* const wanted = expected.data_ptr<std::uint8_t>();
  for (std::size_t i = 0; i < image.pixels.size(); ++i)
    values.push_back(std::abs(image.pixels[i] - wanted[i]));
  return values;
}

}  // namespace diffused::pipelines
