// The tiny decoder that a model finds in a folder of them: a Diffusers folder of AutoencoderTiny, or a file
// by Diffusers' names or those of the networks as they were published (taesd_decoder.safetensors).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "models/tiny_decoder.h"
#include "weights/checkpoint.h"

namespace diffused::pipelines {

struct TinyDecoderFile {
  models::TinyDecoderConfig config;
  std::shared_ptr<weights::Checkpoint> weights;  // under Diffusers' names
};

// What a pipeline's tiny decoder is called: "taesd", "taesdxl", "taesd3", "taef1", "taef2"; empty for none.
std::string_view tiny_decoder_name(std::string_view class_name);

// That of this name in `folder`, as a folder NAME or a file NAME.safetensors or NAME_decoder.safetensors, for
// latents of this format; nothing when there is none. Errors, with the file's name: those of the checkpoint
// and of config.json, unsupported for what is no such decoder or has other latents. Throws
// weights::LoadError.
Result<std::optional<TinyDecoderFile>> find_tiny_decoder(const std::filesystem::path& folder,
                                                         std::string_view name,
                                                         const models::LatentFormat& format);

}  // namespace diffused::pipelines
