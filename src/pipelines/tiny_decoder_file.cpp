#include "pipelines/tiny_decoder_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <utility>

#include "models/config_reader.h"
#include "tokenizers/folder.h"
#include "weights/renaming.h"

namespace diffused::pipelines {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kNames{{
    {"StableDiffusion3", "taesd3"},
    {"StableDiffusionXL", "taesdxl"},
    {"StableDiffusion", "taesd"},
    {"LatentConsistencyModel", "taesd"},
    {"Flux2", "taef2"},
    {"Flux", "taef1"},
    {"ZImage", "taef1"},
}};

constexpr std::size_t kLevelsMax = 16;

tl::unexpected<Error> refused(const fs::path& path, std::string_view why) {
  return fail(ErrorCode::unsupported, fmt::format("{}: {}", path.string(), why), path.string());
}

// Diffusers leaves out the clamp that the published networks count as their first layer.
std::shared_ptr<weights::Checkpoint> with_diffusers_names(const std::shared_ptr<weights::Checkpoint>& file) {
  for (const char* const prefix : {"", "decoder."}) {
    std::set<std::string> taken;
    weights::Renaming names(file, prefix, taken);
    if (!names.has("1.weight") || !names.has("3.conv.0.weight")) continue;
    constexpr int kLayersMax = 256;
    for (int layer = 1; layer < kLayersMax; ++layer)
      names.all_under(fmt::format("{}.", layer), fmt::format("decoder.layers.{}.", layer - 1));
    return names.view();
  }
  return file;
}

// What the tensors' shapes and numbers tell.
Result<models::TinyDecoderConfig> config_of(const fs::path& path,
                                            const std::shared_ptr<weights::Checkpoint>& file) {
  std::set<std::string> taken;
  const weights::Renaming names(file, "decoder.layers.", taken);
  if (!names.has("0.weight") || !names.has("2.conv.0.weight"))
    return refused(path, "no tiny decoder (TAESD, AutoencoderTiny)");
  models::TinyDecoderConfig config;
  config.latent_channels = names.size("0.weight", 4, 1);
  config.width = names.size("0.weight", 4, 0);
  config.blocks.clear();
  for (int layer = 2; config.blocks.size() < kLevelsMax;) {
    const int begin = layer;
    while (names.has(fmt::format("{}.conv.0.weight", layer))) ++layer;
    config.blocks.push_back(layer - begin);
    if (names.has(fmt::format("{}.weight", layer))) return config;
    layer += 2;  // the doubling, which has no tensors, and the convolution behind it
  }
  return refused(path, "a tiny decoder without an end");
}

// What only config.json tells.
Result<void> read_config(const fs::path& path, models::TinyDecoderConfig& config) {
  TRY(const boost::json::object json, tokenizers::read_json(path));
  models::ConfigReader read(json);
  config.scaling_factor = read.number("scaling_factor", 1);
  config.shift_factor = read.number("shift_factor", 0);
  const auto only = [&read](const char* key, const char* value) {
    if (read.text(key, value) != value)
      read.refuse(key, fmt::format("must be {}", value), ErrorCode::unsupported);
  };
  only("_class_name", "AutoencoderTiny");
  only("act_fn", "relu");
  only("upsample_fn", "nearest");
  if (read.integer("upsampling_scaling_factor", 2) != 2)
    read.refuse("upsampling_scaling_factor", "must be 2", ErrorCode::unsupported);
  read.require(config.scaling_factor != 0, "scaling_factor", "must not be 0");
  auto finished = read.finish(config);
  if (finished) return {};
  return fail(finished.error().code, fmt::format("{}: {}", path.string(), finished.error().message),
              path.string());
}

Result<TinyDecoderFile> open(const fs::path& path, const models::LatentFormat& format) {
  const bool folder = fs::is_directory(path);
  TRY(auto file, folder ? weights::Checkpoint::open(path) : weights::Checkpoint::open_file(path));
  TinyDecoderFile decoder;
  decoder.weights = folder ? file : with_diffusers_names(file);
  TRY(decoder.config, config_of(path, decoder.weights));
  if (folder) TRY_VOID(read_config(path / "config.json", decoder.config));
  const std::int64_t pixels = std::int64_t{1} << (decoder.config.blocks.size() - 1);
  decoder.config.patch = std::max<std::int64_t>(format.pixels_per_latent / pixels, 1);
  const models::LatentFormat own = decoder.config.format();
  if (own.channels == format.channels && own.pixels_per_latent == format.pixels_per_latent) return decoder;
  return refused(path,
                 fmt::format("decodes latents of {} channels, {} pixels a side, and the model's have {}, {}",
                             own.channels, own.pixels_per_latent, format.channels, format.pixels_per_latent));
}

}  // namespace

std::string_view tiny_decoder_name(std::string_view class_name) {
  for (const auto& [beginning, name] : kNames) {
    if (class_name.starts_with(beginning)) return name;
  }
  return {};
}

Result<std::optional<TinyDecoderFile>> find_tiny_decoder(const fs::path& folder, std::string_view name,
                                                         const models::LatentFormat& format) {
  for (const char* const ending : {"", ".safetensors", "_decoder.safetensors"}) {
    const fs::path path = folder / (std::string(name) + ending);
    std::error_code unknown;
    if (name.empty() || !fs::exists(path, unknown)) continue;
    TRY(auto decoder, open(path, format));
    return std::optional(std::move(decoder));
  }
  return std::nullopt;
}

}  // namespace diffused::pipelines
