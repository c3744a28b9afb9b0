// Builds the bytes of a safetensors file, well-formed or not.
#pragma once

#include <ATen/ATen.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "weights/header.h"

namespace diffused::test {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// A file of this header text and these data bytes.
inline std::string safetensors_file(const std::string& json, const std::string& data) {
  const std::uint64_t length = json.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + json + data;
}

// The tensors in this order, the header padded with blanks so that the data starts at a multiple of 8.
inline std::string safetensors_file(const NamedTensors& tensors,
                                    const std::string& metadata = R"({"format":"pt"})") {
  std::string json = R"({"__metadata__":)" + metadata;
  std::string data;
  for (const auto& [name, given] : tensors) {
    const at::Tensor tensor = given.contiguous();
    std::string shape;
    for (const auto size : tensor.sizes()) shape += (shape.empty() ? "" : ",") + std::to_string(size);
    const std::string begin = std::to_string(data.size());
    data.append(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
    json += ",\"" + name + "\":{\"dtype\":\"" + std::string(weights::dtype_name(tensor.scalar_type())) +
            "\",\"shape\":[" + shape + "],\"data_offsets\":[" + begin + "," + std::to_string(data.size()) +
            "]}";
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  return safetensors_file(json, data);
}

}  // namespace diffused::test
