// What the tests of the kernels for pictures share: both dtypes, seeded values, skipped where a processor
// lacks the instructions.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kernels/processor.h"

namespace diffused::kernels {

class Avx512Test : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    if (!has_avx512_for(GetParam())) GTEST_SKIP() << "this processor lacks the instructions";
    at::manual_seed(1);
  }
  at::Tensor random(at::IntArrayRef shape) const { return at::randn(shape, GetParam()); }
  at::Tensor random_image(at::IntArrayRef shape) const {
    return random(shape).contiguous(at::MemoryFormat::ChannelsLast);
  }
};

}  // namespace diffused::kernels
