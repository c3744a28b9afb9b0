// Small networks of ESRGAN's kind with random weights.
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cstdint>
#include <string>

#include "support/safetensors.h"

namespace diffused::test {

struct TinyUpscaler {
  std::int64_t features = 16, growth = 8;
  int blocks = 2, doublings = 2, unshuffle = 1;

  // Under the names of Real-ESRGAN.
  NamedTensors tensors() const {
    NamedTensors all;
    at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(3);
    const auto add = [&](const std::string& name, std::int64_t in, std::int64_t out) {
      all.emplace_back(name + ".weight", at::randn({out, in, 3, 3}, generator, at::kFloat) * 0.1);
      all.emplace_back(name + ".bias", at::randn({out}, generator, at::kFloat) * 0.1);
    };
    add("conv_first", 3 * unshuffle * unshuffle, features);
    for (int i = 0; i < blocks; ++i)
      for (int dense = 1; dense <= 3; ++dense)
        for (int conv = 1; conv <= 5; ++conv)
          add(fmt::format("body.{}.rdb{}.conv{}", i, dense, conv), features + (conv - 1) * growth,
              conv < 5 ? growth : features);
    add("conv_body", features, features);
    for (int i = 1; i <= doublings; ++i) add(fmt::format("conv_up{}", i), features, features);
    add("conv_hr", features, features);
    add("conv_last", features, 3);
    return all;
  }
};

}  // namespace diffused::test
