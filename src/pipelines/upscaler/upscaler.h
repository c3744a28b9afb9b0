// START HERE for upscalers: a file of ESRGAN's kind becomes a Pipeline that makes a request's picture larger.
// This header is free of torch.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "job/pipeline.h"
#include "pipelines/load_options.h"

namespace diffused::pipelines {

// What A1111's clients call the published file of that name, "R-ESRGAN 4x+" for "RealESRGAN_x4plus"; else the
// name itself.
std::string upscaler_label(const std::string& stem);

// Loads the network of a .safetensors file. A request's init_image is the picture, whose alpha is left out;
// PipelineInfo::enlarges says how many times larger it becomes. On the CPU the result depends on the picture
// alone. Errors as load_pipeline. Never throws.
Result<std::unique_ptr<Pipeline>> load_upscaler(const std::filesystem::path& path,
                                                const LoadOptions& options);

}  // namespace diffused::pipelines
