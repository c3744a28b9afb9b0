#include "pipelines/latent_loader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <cmath>
#include <set>

#include "models/clip_text.h"
#include "pipelines/tiny_decoder_file.h"

namespace diffused::pipelines {
namespace {

constexpr const char* kDefaultsFile = "diffused.json";

// What the folder's own scheduler follows: a diffusion's networks may have been trained in EDM's way.
samplers::Process process_of(const std::string& scheduler, samplers::Process family) {
  const auto continuous = samplers::sampler_names(samplers::Process::edm);
  const bool edm =
      family == samplers::Process::diffusion && std::ranges::find(continuous, scheduler) != continuous.end();
  return edm ? samplers::Process::edm : family;
}

// Every sampler that can be had with the options of the folder's scheduler, and every preset; its own stands
// first. `masked`: for edits with a mask.
Result<SamplerList> load_samplers(const ModelFolder& folder, const FamilyDefaults& family, bool masked) {
  const std::string file = "scheduler/scheduler_config.json";
  TRY(boost::json::object config, folder.json(file));
  if (family.amend_scheduler) family.amend_scheduler(config, masked);
  const std::string own = folder.class_of("scheduler");
  const samplers::Process process = process_of(own, family.process);
  const std::vector<std::string> names = samplers::sampler_names(process);
  if (std::ranges::find(names, own) == names.end()) {
    return folder.refuse(ErrorCode::unsupported, "model_index.json",
                         fmt::format("scheduler '{}' is not one of those that this model can have: {}", own,
                                     fmt::join(names, ", ")));
  }
  SamplerList samplers;
  TRY(auto default_sampler, folder.named(file, samplers::make_sampler(own, config)));
  samplers.emplace_back(own, std::move(default_sampler));
  const boost::json::object others =
      process == samplers::Process::flow ? samplers::with_flow_options(config) : config;
  for (const std::string& name : names) {
    if (name == own) continue;
    if (auto sampler = samplers::make_sampler(name, others)) samplers.emplace_back(name, *std::move(sampler));
  }
  for (const samplers::Preset& preset : samplers::presets(process)) {
    boost::json::object options = others;
    for (const auto& [key, value] : preset.options) options[key] = value;
    if (auto sampler = samplers::make_sampler(preset.class_name, options))
      samplers.emplace_back(preset.name, *std::move(sampler));
  }
  return samplers;
}

// Whether there is a guidance scale among them.
Result<bool> read_defaults(const ModelFolder& folder, PipelineInfo& info) {
  TRY(const boost::json::object defaults, folder.optional_json(kDefaultsFile));
  if (const boost::json::value* const steps = defaults.if_contains("num_inference_steps")) {
    constexpr std::int64_t kStepsMax = 1000;
    if (!steps->is_int64() || steps->get_int64() < 1 || steps->get_int64() > kStepsMax) {
      return folder.refuse(ErrorCode::data_loss, kDefaultsFile,
                           "'num_inference_steps' must be a count of 1 to 1000");
    }
    info.default_steps = static_cast<int>(steps->get_int64());
  }
  if (const boost::json::value* const scale = defaults.if_contains("guidance_scale")) {
    if (!scale->is_number() || !std::isfinite(scale->to_number<double>())) {
      return folder.refuse(ErrorCode::data_loss, kDefaultsFile, "'guidance_scale' must be a number");
    }
    info.default_guidance_scale = scale->to_number<double>();
    return true;
  }
  return false;
}

void describe_sizes(const FamilyTraits& traits, const models::LatentFormat& latents, PipelineInfo& info) {
  const auto pixels_per_latent = static_cast<int>(latents.pixels_per_latent);
  info.size_multiple = pixels_per_latent * static_cast<int>(traits.latent_multiple);
  info.max_side = static_cast<int>(traits.latent_side_max) * pixels_per_latent;
  const int side = std::min(static_cast<int>(traits.latent_side_default) * pixels_per_latent, info.max_side);
  info.default_width = info.default_height = side / info.size_multiple * info.size_multiple;
}

// Of the CLIP text encoders, by component.
Result<std::map<std::string, std::int64_t>> text_widths(const ModelFolder& folder) {
  std::map<std::string, std::int64_t> widths;
  for (const char* const component : {"text_encoder", "text_encoder_2"}) {
    if (!folder.class_of(component).starts_with("CLIPTextModel")) continue;
    TRY(const auto config, folder.config<models::ClipTextConfig>(component));
    widths[component] = config.hidden_size;
  }
  return widths;
}

std::vector<std::string> names_of(const LearnedWords& words) {
  std::set<std::string> names;
  for (const auto& [component, list] : words) {
    for (const LearnedWord& word : list) names.insert(word.name);
  }
  return {names.begin(), names.end()};
}

}  // namespace

Result<LatentLoader> LatentLoader::begin(const ModelFolder& folder, const LoadOptions& options,
                                         const FamilyDefaults& defaults) {
  TRY(const at::Device device, choose_device(options.device));
  TRY(const at::ScalarType dtype, choose_dtype(options.dtype, device));
  LatentLoader loader(folder, options, dtype, options.headers_alone ? at::Device(at::kMeta) : device);
  TRY(loader.autoencoder_, plan_autoencoder(folder, defaults.latents_by_channel));
  loader.tokens_of_several_vectors_ = defaults.tokens_of_several_vectors;
  PipelineInfo& info = loader.info_;
  info.class_name = folder.class_name();
  info.dtype = dtype_label(dtype);
  if (!options.quantize.empty()) info.dtype += "+" + options.quantize;
  info.device = device.str();
  info.image_to_image = info.inpaint = true;
  info.flow_shift = defaults.process == samplers::Process::flow;
  info.default_steps = defaults.steps;
  info.default_guidance_scale = defaults.guidance_scale;
  TRY(loader.own_guidance_scale_, read_defaults(folder, info));
  info.default_steps = options.defaults.steps.value_or(info.default_steps);
  if (options.defaults.guidance_scale) {
    info.default_guidance_scale = *options.defaults.guidance_scale;
    loader.own_guidance_scale_ = true;
  }
  TRY(loader.samplers_, load_samplers(folder, defaults, /*masked=*/false));
  TRY(loader.masked_samplers_, load_samplers(folder, defaults, /*masked=*/true));
  for (const auto& [name, sampler] : loader.samplers_) info.schedulers.push_back(name);
  if (!options.embeddings.empty()) {
    TRY(const auto widths, text_widths(folder));
    TRY(loader.words_, read_learned_words(options.embeddings, widths));
    info.embeddings = names_of(loader.words_);
  }
  return loader;
}

Result<void> LatentLoader::check_latents(std::int64_t in_channels, std::int64_t out_channels,
                                         std::int64_t patch, std::int64_t fill_channels) const {
  const std::int64_t channels = latents().channels * patch * patch;
  if (in_channels == channels + fill_channels && out_channels == channels) return {};
  return folder_->refuse(
      ErrorCode::unsupported, "transformer/config.json",
      fmt::format("in_channels {} and out_channels {}, but the autoencoder's {} have {} channels{}",
                  in_channels, out_channels, patch == 1 ? "latents" : "packed latents", channels,
                  fill_channels > 0 ? fmt::format(", what it sees besides {}", fill_channels) : ""));
}

Result<LatentModel> LatentLoader::finish(std::unique_ptr<const Family> family) {
  LoraLibrary loras;
  if (!options_.loras.empty()) {
    TRY(loras, LoraLibrary::scan(options_.loras, loaded_, dtype_, device_));
    info_.loras = loras.names();
    info_.lora_aliases = loras.aliases();
  }
  TRY(auto autoencoder, autoencoder_.load({*store_, dtype_, device_}, loaded_));
  std::shared_ptr<const models::LatentDecoder> tiny_decoder;
  if (!options_.decoders.empty()) {
    TRY(const auto file,
        find_tiny_decoder(options_.decoders, tiny_decoder_name(info_.class_name), latents()));
    if (file) {
      // Edits are encoded by the model's own autoencoder.
      tiny_decoder = load_network<models::TinyDecoder>(file->weights, file->config,
                                                       {*store_, dtype_, device_}, loaded_, {"encoder."})
                         .network;
      info_.decoders = {kTinyDecoder};
    }
  }
  describe_sizes(family->traits(), latents(), info_);
  if (family->traits().fills) info_.image_to_image = false;
  if (!family->traits().starts_without_mask) info_.image_to_image = false;
  if (!family->traits().edits) info_.image_to_image = info_.inpaint = false;
  info_.references_max = family->traits().references_max;
  info_.reference_needed = family->traits().controls;
  info_.true_cfg_scale = family->traits().true_cfg_scale;
  info_.caches = {kEasyCache};
  if (options_.cache) {
    TRY_VOID(check_step_cache(*options_.cache, info_.caches));
    info_.default_cache = with_threshold(options_.cache);
  }
  info_.parameters = loaded_.parameters;
  info_.networks = std::move(loaded_.networks);
  return LatentModel{.family = std::move(family),
                     .autoencoder = std::move(autoencoder),
                     .tiny_decoder = std::move(tiny_decoder),
                     .samplers = std::move(samplers_),
                     .masked_samplers = std::move(masked_samplers_),
                     .loras = std::move(loras),
                     .info = std::move(info_),
                     .own_guidance_scale = own_guidance_scale_,
                     .dtype = dtype_,
                     .device = device_};
}

}  // namespace diffused::pipelines
