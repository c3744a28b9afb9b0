// START HERE for the room `pipelines`: a model folder becomes a Pipeline. One pipeline per model family;
// catalog.cpp is the list of families, by the class names that Diffusers writes into model_index.json. This
// header is free of torch.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "job/pipeline.h"

namespace diffused::pipelines {

class NetworkStore;

struct LoadOptions {
  // "fp32" or "bf16"; empty: bf16 where the processor multiplies it natively, else fp32.
  std::string dtype = {};
  // "int8": the denoiser's linears in 8 bits where the machine can; empty: as dtype says.
  std::string quantize = {};
  std::string device = "cpu";                  // as torch names it: "cpu", "cuda", "cuda:1"
  std::string variant = {};                    // of the weight files, such as "fp16"; empty: the plain files
  std::vector<std::string> parts = {};         // folders for what a checkpoint in one file lacks
  std::filesystem::path loras = {};            // a folder of LoRAs for requests to choose from; empty: none
  std::size_t prompt_cache_bytes = 64u << 20;  // embeddings of recent prompts kept ready
  // Models loaded with the same store share the networks that are equal; null: with nobody.
  std::shared_ptr<NetworkStore> networks = {};
};

// Loads a Diffusers model folder, or a checkpoint in one file with one of options.parts. Every failure is one
// line that names the file: not_found (no folder, no model_index.json), data_loss (half-downloaded or
// damaged, or weights that do not fit the configs), unsupported (a class, library, dtype or device that is
// not served), out_of_memory. Never throws. The pipeline then belongs to one device thread, which need not be
// this one.
Result<std::unique_ptr<Pipeline>> load_pipeline(const std::filesystem::path& folder,
                                                const LoadOptions& options);

std::shared_ptr<NetworkStore> make_network_store();

}  // namespace diffused::pipelines
