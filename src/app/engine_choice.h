// Which engine a model runs in: ours, or Diffusers itself in a Python process.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/variables.h"
#include "diffusers/worker.h"

namespace diffused::app {

struct EngineOptions {
  std::vector<std::string> engines;  // ENGINE, or NAME=ENGINE for one model; the last that applies counts
  std::string python;                // the interpreter that has diffusers; empty: find_python
};

// Adds --engine and --python. `options` must outlive the parsing.
void add_engine_options(CLI::App& command, EngineOptions& options);

// "native", "diffusers" or "auto": as --engine says of the model of this name.
std::string engine_for(const EngineOptions& options, const std::string& model);

// The interpreter to run Diffusers with: --python, DIFFUSED_PYTHON, else that of the virtual environment that
// the loaded libtorch lies in. Nothing: there is none.
std::optional<std::string> find_python(const EngineOptions& options, const Variables& variables);

// The folder diffused_worker, beside the program or in the source tree that it was built in. DIFFUSED_WORKER
// names another. Error: not_found.
Result<std::filesystem::path> find_worker_program(const Variables& variables);

}  // namespace diffused::app
