// A file of ESRGAN or Real-ESRGAN, under whichever of the three sets of names that such files have.
#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "models/rrdb_net.h"
#include "weights/checkpoint.h"

namespace diffused::pipelines {

struct UpscalerFile {
  models::RrdbNetConfig config;                  // told by the tensors' shapes
  std::shared_ptr<weights::Checkpoint> weights;  // under the names that RrdbNet asks for
};

// Errors, with the file as field: those of Checkpoint::open_file, unsupported for another kind of network.
// Throws weights::LoadError where the shapes contradict each other.
Result<UpscalerFile> open_upscaler_file(const std::filesystem::path& path);

}  // namespace diffused::pipelines
