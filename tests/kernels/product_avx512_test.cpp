// The register tile in every number format, also in those that this processor would not choose.
#include "kernels/product_avx512.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kernels/finish.h"
#include "support/relative_norm_error.h"

namespace diffused::kernels {
namespace {

template <typename Number>
class ProductAvx512 : public testing::Test {
 protected:
  static constexpr at::ScalarType kDtype = sizeof(typename Number::Value) == 4 ? at::kFloat : at::kBFloat16;
  static constexpr at::ScalarType kLeftDtype = sizeof(typename Number::Left) == 4 ? at::kFloat : kDtype;

  void SetUp() override {
    if (!has_avx512_for(kDtype)) GTEST_SKIP() << "this processor lacks the instructions";
    at::manual_seed(1);
  }
};

using Numbers = testing::Types<Float32, Bfloat16, WideBfloat16>;
TYPED_TEST_SUITE(ProductAvx512, Numbers);

TYPED_TEST(ProductAvx512, FollowsTheFormulaAtManyShapes) {
  using Number = TypeParam;
  using Value = typename Number::Value;
  const double tolerance = this->kDtype == at::kFloat ? 3e-6 : 4e-3;
  for (const std::int64_t in : {2, 30, 1000, 4500}) {
    for (const std::int64_t out : {1, 17, 48, 64, 200}) {
      const at::Tensor weight = at::randn({out, in}, this->kDtype), bias = at::zeros({256});
      const Packing<Number> packing{in, out};
      const at::Tensor packed = at::empty({packing.values()}, this->kDtype);
      pack_columns(packing, static_cast<const Value*>(weight.const_data_ptr()), in, 0, packing.tiles(),
                   static_cast<Value*>(packed.mutable_data_ptr()));
      for (const std::int64_t rows : {1, 7, 250}) {
        const at::Tensor x = at::randn({rows, in}, this->kDtype), y = at::empty({rows, out}, this->kDtype);
        const at::Tensor left = x.to(this->kLeftDtype);
        multiply_in_registers(
            Product<Number>{Rows<typename Number::Left>(left), packing,
                            static_cast<const Value*>(packed.const_data_ptr())},
            Finish<Number, AddBias>(y, out, LinearExtras{}, AddBias{bias.const_data_ptr<float>()}));
        ASSERT_LT(test::relative_norm_error(y, at::linear(x.to(at::kDouble), weight.to(at::kDouble))),
                  tolerance)
            << rows << " x " << in << " x " << out;
      }
    }
  }
}

}  // namespace
}  // namespace diffused::kernels
