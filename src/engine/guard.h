// The one border at which exceptions of a Pipeline become errors.
#pragma once

#include <exception>
#include <type_traits>

#include "base/result.h"

namespace diffused::engine {

// The error for an exception a Pipeline let out: out_of_memory for std::bad_alloc and what says that memory
// ran out, else internal. The exception's own text goes to the log and not to the client.
Error device_error(const std::exception& exception);
Error unknown_device_error();

// Leaves a unit that nobody wants any more. Not derived from std::exception, which a pipeline may catch.
struct GivenUp {};

// Calls `work` and turns what it throws into an Error: GivenUp into `cancelled`. For work that returns a
// Result, or nothing.
template <typename Work>
auto guarded(Work&& work) -> std::conditional_t<std::is_void_v<std::invoke_result_t<Work>>, Result<void>,
                                                std::invoke_result_t<Work>> {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Work>>) {
      work();
      return {};
    } else {
      return work();
    }
  } catch (const std::exception& exception) {
    return tl::unexpected(device_error(exception));
  } catch (const GivenUp&) {
    return fail(ErrorCode::cancelled, "nobody wants it any more");
  } catch (...) {
    return tl::unexpected(unknown_device_error());
  }
}

}  // namespace diffused::engine
