// START HERE for the room `pipelines`: a model folder becomes a Pipeline. One pipeline per model family;
// catalog.cpp is the list of families, by the class names that Diffusers writes into model_index.json. This
// header is free of torch.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "job/pipeline.h"
#include "pipelines/load_options.h"

namespace diffused::pipelines {

// Loads a Diffusers model folder, or a checkpoint in one file with one of options.parts. Every failure is one
// line that names the file: not_found (no folder, no model_index.json), data_loss (half-downloaded or
// damaged, or weights that do not fit the configs), unsupported (a class, library, dtype or device that is
// not served), out_of_memory. Never throws. The pipeline then belongs to one device thread, which need not be
// this one.
Result<std::unique_ptr<Pipeline>> load_pipeline(const std::filesystem::path& folder,
                                                const LoadOptions& options);

// What load_pipeline's would say of itself, and what it would refuse, by the headers of the weight files
// alone: takes no time and no memory.
Result<PipelineInfo> describe_pipeline(const std::filesystem::path& folder, LoadOptions options);

// Whether folders of this class, as model_index.json names it, are loaded by load_pipeline.
bool has_family(std::string_view class_name);

std::shared_ptr<NetworkStore> make_network_store();

}  // namespace diffused::pipelines
