#include <malloc.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "app/commands.h"
#include "base/last_word.h"

namespace {

// Who limits ATen to older processors' instructions limits oneDNN as well. ATen relies on it: for attention
// in bfloat16 it asks oneDNN whether there are AMX tiles, and then fails for want of AVX-512. oneDNN reads
// its variable when it is first used.
void limit_onednn_as_aten() {
  const char* const capability = std::getenv("ATEN_CPU_CAPABILITY");
  if (capability == nullptr || std::string_view(capability).starts_with("avx512")) return;
  setenv("ONEDNN_MAX_CPU_ISA", "AVX2", /*overwrite=*/0);
}

}  // namespace

int main(int argc, char** argv) {
  // Activations are tens of megabytes and come and go with every layer. By default glibc maps and unmaps
  // each, and the kernel clears its pages every time: up to four times slower element-wise layers. Keep them
  // in the heap.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  setenv("THP_MEM_ALLOC_ENABLE", "1",
         /*overwrite=*/0);  // large tensors in large pages, which libtorch asks for
  limit_onednn_as_aten();
  diffused::log_last_words();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error like a full disk, not the end

  CLI::App program("Serve Diffusers models over the OpenAI images API", "diffused");
  program.set_version_flag("--version", diffused::app::full_version);
  program.require_subcommand(1);
  int exit_status = 0;
  diffused::app::add_serve(program, argv, exit_status);
  diffused::app::add_generate(program, exit_status);
  diffused::app::add_inspect(program, exit_status);
  diffused::app::add_compare(program, exit_status);
  diffused::app::add_models(program, exit_status);
  diffused::app::add_pull(program, exit_status);
  diffused::app::add_key(program, exit_status);
  diffused::app::add_migrate(program, exit_status);
  diffused::app::add_jobs(program, exit_status);
  diffused::app::add_health(program, exit_status);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : diffused::app::kUnusable;
  }
  return exit_status;
}
