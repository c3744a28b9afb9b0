// The models named on the command line, loaded and ready to be handed to the engine.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "app/engine_choice.h"
#include "base/result.h"
#include "job/pipeline.h"
#include "pipelines/catalog.h"

namespace diffused::app {

// A model named on the command line, as name=MODEL or MODEL alone; MODEL is a folder, a .safetensors file, or
// owner/name[@revision] of a Hugging Face hub, found in the cache. A folder that is there goes first.
struct ModelArgument {
  std::string name;    // of its own: that of the folder or the repository
  std::string folder;  // where it is
  std::string id;      // owner/name[@revision] as it was asked for; empty for a folder
};
// Error: not_found for a repository that is not in the cache.
Result<ModelArgument> find_model(const std::string& text);

// --dtype, --device, --variant, --parts, --defaults, --threads, --engine, --python: the same for every
// command that loads a model.
struct ModelOptions {
  pipelines::LoadOptions load;
  EngineOptions engine;
  int threads = 0;  // of the device thread's team; 0: one per processor
};
void add_model_options(CLI::App& command, ModelOptions& options);

// --parts alone, and its folders in place of the names that they were given by. Error: as find_model.
void add_parts_option(CLI::App& command, pipelines::LoadOptions& load);
Result<void> find_parts(pipelines::LoadOptions& load);

// Bytes of its weight files on disk, each file once.
std::uint64_t weights_on_disk(const ModelArgument& model);

// Loads one model, in the engine that is meant for it. The calling thread's torch settings are not touched.
Result<std::unique_ptr<Pipeline>> load_model(const ModelArgument& model, const ModelOptions& options);

// Prepares the calling thread for tensor work: thread count, no gradients, denormals flushed. To be called by
// the engine's device thread before its first unit.
void prepare_device_thread(const ModelOptions& options);

// About what the device gets done in a model's networks, in floating point operations per second, before any
// of them was measured: told by a product of matrices, within a tenth of a second.
double measure_flops_per_second(const ModelOptions& options);

}  // namespace diffused::app
