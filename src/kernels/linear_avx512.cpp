// The products are those of product_amx.h where k and the processor allow, or product_avx512.h. What follows
// is applied to the sums while they are still in registers (finish.h), so y is written once.
#include "kernels/linear_avx512.h"

#include <ATen/ATen.h>

#include <type_traits>

#include "base/check.h"
#include "kernels/finish.h"
#include "kernels/multiply_all.h"
#include "kernels/processor.h"

namespace diffused::kernels {
namespace {

// Multiplies; finish<Number>() makes what gets the sums.
template <typename MakeFinish>
void multiply(const at::Tensor& x, const PackedWeight& weight, const MakeFinish& finish) {
  with_multiplied_number(x.scalar_type(), [&]<typename Number>() {
    using Left = typename Number::Left;
    const at::Tensor rows = with_whole_rows(std::is_same_v<Left, float> ? x.to(at::kFloat) : x);
    multiply_all(Product<Number>{Rows<Left>(rows), Packing<Number>{weight.in, weight.out},
                                 static_cast<const typename Number::Value*>(weight.values.const_data_ptr())},
                 finish.template operator()<Number>());
  });
}

}  // namespace

at::Tensor linear_result(const at::Tensor& x, std::int64_t out) {
  auto shape = x.sizes().vec();
  shape.back() = out;
  return at::empty(shape, x.options());
}

void check_extras(const LinearExtras& extras, const at::Tensor& result) {
  const auto fits = [&](const at::Tensor& x) {
    return x.scalar_type() == result.scalar_type() && x.stride(-1) == 1;
  };
  const auto& [activation, gate, added] = extras;
  CHECK(!gate.defined() ||
        (fits(gate) && gate.dim() == 2 && gate.size(0) == result.size(0) && gate.size(1) == result.size(-1)));
  CHECK(!added.defined() || (fits(added) && added.sizes() == result.sizes()));
}

bool PackedLinear::takes(const at::Tensor& weight) {
  return weight.device().is_cpu() && weight.dim() == 2 && weight.numel() > 0 &&
         has_avx512_for(weight.scalar_type()) &&
         (weight.scalar_type() == at::kFloat || weight.size(1) % 2 == 0);
}

PackedLinear::PackedLinear(const at::Tensor& weight, const at::Tensor& bias) : weight_(weight, bias) {
  CHECK(takes(weight));
}

void PackedLinear::check(const at::Tensor& x) const {
  CHECK(x.device().is_cpu() && x.scalar_type() == weight_.values.scalar_type() && x.size(-1) == weight_.in);
}

at::Tensor PackedLinear::operator()(const at::Tensor& x, const LinearExtras& extras) const {
  check(x);
  const at::Tensor y = linear_result(x, weight_.out);
  check_extras(extras, y);
  if (y.numel() == 0) return y;
  multiply(x, weight_, [&]<typename Number>() {
    return Finish<Number, AddBias>(y, weight_.out, extras, {weight_.bias.const_data_ptr<float>()});
  });
  return y;
}

at::Tensor PackedLinear::pairs(const at::Tensor& x, Activation activation) const {
  check(x);
  CHECK(weight_.out % (2 * kPairColumns) == 0);
  const at::Tensor y = linear_result(x, weight_.out / 2);
  if (y.numel() == 0) return y;
  multiply(x, weight_, [&]<typename Number>() {
    return FinishPairs<Number, AddBias>{
        Rows<typename Number::Value>(y), {weight_.bias.const_data_ptr<float>()}, activation};
  });
  return y;
}

}  // namespace diffused::kernels
