#include "app/engine_choice.h"

#include <fmt/format.h>

#include <fstream>

namespace diffused::app {
namespace {

using std::filesystem::path;

// Where this process has libtorch from; empty when it has none.
path loaded_libtorch() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const auto slash = line.find('/');
    if (slash != std::string::npos && path(line.substr(slash)).filename() == "libtorch_cpu.so")
      return line.substr(slash);
  }
  return {};
}

// …/lib/python3.11/site-packages/torch/lib/libtorch_cpu.so lies in the environment ….
path environment_of(const path& libtorch) {
  path at = libtorch;
  for (int i = 0; i < 6; ++i) at = at.parent_path();
  return at;
}

std::string check_engine(const std::string& text) {
  const std::string engine = text.substr(text.find('=') + 1);
  if (engine == "native" || engine == "diffusers" || engine == "auto") return {};
  return fmt::format("'{}' is none of native, diffusers and auto", engine);
}

}  // namespace

void add_engine_options(CLI::App& command, EngineOptions& options) {
  command
      .add_option(
          "--engine", options.engines,
          "native; diffusers: in Diffusers itself, in a Python process; auto (default): diffusers for "
          "the classes that are not native. NAME=ENGINE: of the model of that name")
      ->allow_extra_args(false)
      ->check(CLI::Validator(check_engine, "ENGINE"));
  command.add_option("--python", options.python,
                     "the Python that has diffusers (default: DIFFUSED_PYTHON, else that of the virtual "
                     "environment that libtorch is loaded from)");
}

std::string engine_for(const EngineOptions& options, const std::string& model) {
  std::string chosen = "auto";
  for (const std::string& text : options.engines) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || text.substr(0, equals) == model) chosen = text.substr(equals + 1);
  }
  return chosen;
}

std::optional<std::string> find_python(const EngineOptions& options, const Variables& variables) {
  if (!options.python.empty()) return options.python;
  if (const auto named = variables("DIFFUSED_PYTHON")) return *named;
  const path libtorch = loaded_libtorch();
  if (libtorch.empty()) return std::nullopt;
  const path python = environment_of(libtorch) / "bin" / "python3";
  std::error_code unreadable;
  if (!std::filesystem::exists(python, unreadable)) return std::nullopt;
  return python.string();
}

Result<path> find_worker_program(const Variables& variables) {
  if (const auto named = variables("DIFFUSED_WORKER")) return path(*named);
  std::error_code unreadable;
  const path here = std::filesystem::read_symlink("/proc/self/exe", unreadable).parent_path();
  const path places[] = {here / "diffused_worker", here / "../share/diffused/diffused_worker",
                         here / "../../python/diffused_worker"};
  for (const path& place : places)
    if (std::filesystem::exists(place / "__main__.py", unreadable)) return place.lexically_normal();
  return fail(ErrorCode::not_found,
              fmt::format("{}: the folder diffused_worker, which runs Diffusers, is not there",
                          places[0].lexically_normal().string()));
}

}  // namespace diffused::app
