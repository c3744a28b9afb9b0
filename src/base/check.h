// CHECK: a broken invariant ends the program, in every build. What a user sends never reaches a CHECK
// unchecked.
#pragma once

#include <string>

namespace diffused {

// Prints file, line, the condition and the message on stderr and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& message);

}  // namespace diffused

#undef CHECK  // torch's logging header brings one of its own
#define CHECK(condition) CHECK_WITH(condition, std::string())
// The message is built only when the condition is false: CHECK_WITH(a == b, fmt::format("{} against {}", a,
// b));
#define CHECK_WITH(condition, message)                                     \
  do {                                                                     \
    if (!(condition)) [[unlikely]]                                         \
      ::diffused::check_failed(__FILE__, __LINE__, #condition, (message)); \
  } while (false)
