// Where libFuzzer comes in: one program for all targets, told by FUZZ_TARGET which one it is about.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/log.h"
#include "fuzz/targets.h"

namespace {

const diffused::fuzz::Target* target = nullptr;

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  diffused::set_log_level(diffused::LogLevel::error);
  const char* const name = std::getenv("FUZZ_TARGET");
  target = diffused::fuzz::find_target(name == nullptr ? "" : name);
  if (target != nullptr) return 0;
  std::fprintf(stderr, "FUZZ_TARGET must be one of\n");
  for (const auto& known : diffused::fuzz::targets())
    std::fprintf(stderr, "  %s\n", std::string(known.name).c_str());
  std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  target->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
