#include "base/pages.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <fstream>

#include "support/sanitized.h"

namespace diffused {
namespace {

std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t all = 0, resident = 0;
  statm >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(Pages, OfALargeTextGoBackThoughTheHeapKeepsItsPlace) {
  if (test::kSanitized) GTEST_SKIP() << "a sanitizer has a heap of its own, and a shadow of what was freed";
  // As the program has it: freeing alone gives nothing back.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  constexpr std::size_t kBytes = 64 << 20;
  const std::size_t before = resident_bytes();
  std::string text(kBytes, 'x');
  const std::string after_it(kBytes, 'y');  // so that the first is not at the heap's end
  ASSERT_GT(resident_bytes(), before + kBytes * 3 / 2);
  drop_text(std::move(text));
  EXPECT_LT(resident_bytes(), before + kBytes * 3 / 2);
  EXPECT_EQ(after_it.back(), 'y');
}

TEST(Pages, ASmallTextIsOnlyFreed) { drop_text(std::string(100, 'x')); }

}  // namespace
}  // namespace diffused
