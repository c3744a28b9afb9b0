#include "base/pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace diffused {
namespace {

// Below it the system call costs more than the pages are worth.
constexpr std::size_t kLargeBytes = 1 << 20;

}  // namespace

void drop_text(std::string text) {
  if (text.capacity() < kLargeBytes) return;
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(text.data());
  const std::uintptr_t begin = (address + page - 1) / page * page;
  const std::uintptr_t end = (address + text.capacity()) / page * page;
  // Only pages that are the text's alone. They read as zeros from now on; nobody reads them.
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace diffused
