#include "engine/guard.h"

#include <new>
#include <string_view>

#include "base/log.h"

namespace diffused::engine {
namespace {

// libtorch's allocators say it in words: the CPU's throws a plain c10::Error, and the type of the GPU's is
// not ours to know here.
bool says_out_of_memory(std::string_view text) {
  return text.find("out of memory") != text.npos || text.find("not enough memory") != text.npos;
}

}  // namespace

Error device_error(const std::exception& exception) {
  const bool memory =
      dynamic_cast<const std::bad_alloc*>(&exception) != nullptr || says_out_of_memory(exception.what());
  log(LogLevel::error, memory ? "device_out_of_memory" : "device_error", {{"what", exception.what()}});
  if (memory) return {ErrorCode::out_of_memory, "There is not enough memory for this picture.", {}, {}};
  return unknown_device_error();
}

Error unknown_device_error() { return {ErrorCode::internal, "The model failed on this request.", {}, {}}; }

}  // namespace diffused::engine
