// The promise that on the CPU a row of a batch equals the row alone, bit for bit.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace diffused::test {

inline constexpr std::int64_t kRowsMax = 8;

// f(first row, rows) computes these rows of a batch of kRowsMax. Compares each row of every batch with that
// row alone, with several numbers of threads (a number of threads of its own may give bits of its own).
template <typename F>
void expect_rows_independent(const F& f, const std::string& about) {
  const int threads_before = at::get_num_threads();
  for (const int threads : {1, 3, 4}) {
    at::set_num_threads(threads);
    std::vector<at::Tensor> alone;
    for (std::int64_t row = 0; row < kRowsMax; ++row) alone.push_back(f(row, 1));
    for (const std::int64_t rows : {2, 3, 5, 8}) {
      const at::Tensor together = f(0, rows);
      for (std::int64_t row = 0; row < rows; ++row) {
        ASSERT_TRUE(together.narrow(0, row, 1).equal(alone[row]))
            << about << ": row " << row << " of " << rows << ", " << threads << " threads";
      }
    }
  }
  at::set_num_threads(threads_before);
}

}  // namespace diffused::test
