// Small decoders of TAESD's kind with random weights.
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <vector>

#include "support/safetensors.h"

namespace diffused::test {

struct TinyDecoderTensors {
  std::int64_t latent_channels = 4, width = 16;
  std::vector<int> blocks = {1, 1};
  bool pool = false;  // before the first level's blocks, as FLUX.2's

  // Under the names of Diffusers.
  NamedTensors tensors() const {
    NamedTensors all;
    at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(3);
    const auto add = [&](const std::string& name, at::IntArrayRef shape) {
      all.emplace_back("decoder.layers." + name, at::randn(shape, generator, at::kFloat) * 0.15);
    };
    add("0.weight", {width, latent_channels, 3, 3});
    add("0.bias", {width});
    int layer = 2;
    for (std::size_t level = 0; level < blocks.size(); ++level) {
      for (int i = 0; i < blocks[level]; ++i, ++layer) {
        for (const int conv : {0, 2, 4}) {
          add(fmt::format("{}.conv.{}.weight", layer, conv), {width, width, 3, 3});
          add(fmt::format("{}.conv.{}.bias", layer, conv), {width});
        }
        if (!pool || level > 0) continue;
        add(fmt::format("{}.pool.0.weight", layer), {4 * width, width, 1, 1});
        add(fmt::format("{}.pool.1.weight", layer), {4 * width});
        add(fmt::format("{}.pool.1.bias", layer), {4 * width});
        add(fmt::format("{}.pool.3.weight", layer), {width, 4 * width, 1, 1});
      }
      if (level + 1 < blocks.size()) {
        add(fmt::format("{}.weight", ++layer), {width, width, 3, 3});
        ++layer;
      }
    }
    add(fmt::format("{}.weight", layer), {3, width, 3, 3});
    add(fmt::format("{}.bias", layer), {3});
    return all;
  }
};

}  // namespace diffused::test
