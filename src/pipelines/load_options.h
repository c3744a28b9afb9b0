// How a model is loaded. Free of torch.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "job/step_cache.h"
#include "pipelines/model_defaults.h"

namespace diffused::pipelines {

class NetworkStore;

struct LoadOptions {
  // "fp32" or "bf16"; empty: bf16 where the processor multiplies it natively, else fp32.
  std::string dtype = {};
  // "int8": the denoiser's linears in 8 bits where the machine can; empty: as dtype says.
  std::string quantize = {};
  std::string device = "cpu";           // as torch names it: "cpu", "cuda", "cuda:1"
  std::string variant = {};             // of the weight files, such as "fp16"; empty: the plain files
  std::vector<std::string> parts = {};  // folders for what a checkpoint in one file lacks
  std::filesystem::path vae = {};       // another autoencoder, in a folder or a file; empty: the model's own
  std::filesystem::path loras = {};     // a folder of LoRAs for requests to choose from; empty: none
  std::filesystem::path decoders = {};  // a folder of tiny decoders, of which each model takes its own
  std::filesystem::path embeddings = {};  // a folder of textual inversions for prompts to name; empty: none
  // What steps a request spares that names no cache; absent: none.
  std::optional<StepCache> cache = {};
  ModelDefaults defaults = {};                 // before those of the folder and of the family
  std::size_t prompt_cache_bytes = 64u << 20;  // embeddings of recent prompts kept ready
  bool headers_alone = false;  // no tensor is read, only what the files say of them: for describe_pipeline
  // Models loaded with the same store share the networks that are equal; null: with nobody.
  std::shared_ptr<NetworkStore> networks = {};
};

}  // namespace diffused::pipelines
