// What a loader says of weights that it cannot take.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "weights/scope.h"

namespace diffused::test {

// The message of the LoadError that `load` throws, which is one line.
template <typename F>
std::string load_error(F load) {
  try {
    load();
  } catch (const weights::LoadError& error) {
    EXPECT_EQ(error.error.message.find('\n'), std::string::npos);
    return error.error.message;
  }
  return "no error";
}

}  // namespace diffused::test
