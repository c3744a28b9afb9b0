// Lack of memory, in whatever way libtorch says it, as std::bad_alloc: the one exception that rooms without
// torch know.
#pragma once

#include <c10/util/Exception.h>

#include <new>
#include <string_view>

namespace diffused::pipelines {

// Runs `work` and passes on what it returns or throws; what says that memory is short becomes std::bad_alloc.
template <typename Work>
auto with_memory_errors(Work&& work) {
  try {
    return work();
  } catch (const c10::OutOfMemoryError&) {
    throw std::bad_alloc();
  } catch (const c10::Error& error) {
    // The CPU allocator throws a plain Error.
    if (std::string_view(error.what_without_backtrace()).find("DefaultCPUAllocator") ==
        std::string_view::npos)
      throw;
    throw std::bad_alloc();
  }
}

}  // namespace diffused::pipelines
