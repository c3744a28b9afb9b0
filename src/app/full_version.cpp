#include <ATen/Version.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include "app/commands.h"
#include "app/version.h"
#include "kernels/processor.h"

namespace diffused::app {

std::string full_version() {
  std::string sets = at::get_cpu_capability();
  if (kernels::has_avx512_vnni()) sets += " AVX512-VNNI";
  if (kernels::has_amx()) sets += " AMX";
  return fmt::format("{}\nlibtorch {}\ninstruction sets in use: {}", version_text(), TORCH_VERSION, sets);
}

}  // namespace diffused::app
