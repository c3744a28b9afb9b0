#include "kernels/self_test.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/processor.h"

namespace diffused::kernels {
namespace {

TEST(KernelSelfTest, PassesEveryKernelThisMachineHas) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto checks = check_kernels(dtype);
    EXPECT_EQ(checks.empty(), !has_avx512_for(dtype));
    for (const KernelCheck& check : checks) EXPECT_LE(check.error, check.error_max) << check.kernel;
    EXPECT_TRUE(agree(dtype));
  }
}

TEST(KernelSelfTest, RefusesAndNamesAKernelThatIsOff) {
  const std::vector<KernelCheck> one_off{{"attention", 0.001, 0.01}, {"linear", 0.02, 0.01}};
  testing::internal::CaptureStderr();
  EXPECT_FALSE(all_agree(one_off));
  const std::string logged = testing::internal::GetCapturedStderr();
  EXPECT_NE(logged.find("kernel_disabled"), std::string::npos);
  EXPECT_NE(logged.find("\"linear\""), std::string::npos);
  EXPECT_EQ(logged.find("\"attention\""), std::string::npos);
}

TEST(KernelSelfTest, RefusesAKernelThatGivesNoNumber) {
  const std::vector<KernelCheck> broken{{"linear", std::numeric_limits<double>::quiet_NaN(), 0.01}};
  EXPECT_FALSE(all_agree(broken));
}

TEST(KernelSelfTest, KnowsNoKernelForOtherNumbers) { EXPECT_FALSE(agree(at::kHalf)); }

}  // namespace
}  // namespace diffused::kernels
