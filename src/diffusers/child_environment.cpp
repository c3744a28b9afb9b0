#include "diffusers/child_environment.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace diffused::diffusers {
namespace {

constexpr std::array<std::string_view, 7> kNames{
    "PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"};
constexpr std::array<std::string_view, 13> kPrefixes{"LC_",     "CUDA_", "NVIDIA_", "NCCL_",    "MKL_",
                                                     "KMP_",    "GOMP_", "ATEN_",   "PYTORCH_", "TORCH_",
                                                     "ONEDNN_", "DNNL_", "PYTHON"};

bool is_passed(std::string_view name) {
  return std::ranges::count(kNames, name) > 0 ||
         std::ranges::any_of(kPrefixes, [&](std::string_view prefix) { return name.starts_with(prefix); });
}

}  // namespace

std::vector<std::string> child_environment(int threads) {
  std::vector<std::string> made;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (is_passed(text.substr(0, text.find('=')))) made.emplace_back(text);
  }
  made.push_back("PYTHONUNBUFFERED=1");
  made.push_back("OMP_WAIT_POLICY=PASSIVE");  // rows have threads of their own, of which one computes
  if (threads > 0) made.push_back(fmt::format("OMP_NUM_THREADS={}", threads));
  return made;
}

}  // namespace diffused::diffusers
