// Whether this is a sanitizer's build, where work is 5 to 30 times as slow: what one thread computes by a
// fixed seed is tried there on a part of its cases, as the release build tries them all.
#pragma once

namespace diffused::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace diffused::test
