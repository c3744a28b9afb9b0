#include "pipelines/single_file/single_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <set>

#include "weights/scope.h"

namespace diffused::pipelines {
namespace {

using weights::Checkpoint;
using weights::Renaming;

// A file on its way to components.
struct Reading {
  std::shared_ptr<const Checkpoint> file;
  std::string denoiser;         // prefix of its tensors
  std::set<std::string> taken;  // the file's names of what is accounted for
  SingleFile result;

  Renaming names(const std::string& prefix) { return {file, prefix, taken}; }
};

void read_autoencoder(Reading& reading, LatentScale scale) {
  for (const char* const prefix : {"first_stage_model.", "vae."}) {
    if (!reading.file->contains(prefix + std::string("decoder.conv_in.weight"))) continue;
    Renaming names = reading.names(prefix);
    reading.result.components["vae"] = autoencoder_component(names, scale);
    return;
  }
}

void read_clip(Reading& reading, const std::string& component, const std::string& prefix,
               const char* activation, Projection projection) {
  if (!reading.file->contains_under(prefix + "text_model.")) return;
  Renaming names = reading.names(prefix);
  reading.result.components[component] = clip_component(names, activation, projection);
}

void read_open_clip(Reading& reading, const std::string& component, const std::string& prefix,
                    bool all_layers) {
  if (!reading.file->contains_under(prefix + "transformer.resblocks.")) return;
  Renaming names = reading.names(prefix);
  reading.result.components[component] = open_clip_component(names, all_layers);
}

void read_t5(Reading& reading, const std::string& component) {
  const std::string prefix = "text_encoders.t5xxl.transformer.";
  if (!reading.file->contains_under(prefix + "encoder.")) return;
  Renaming names = reading.names(prefix);
  reading.result.components[component] = t5_component(names);
}

void read_unet(Reading& reading, const std::string& family) {
  Renaming names = reading.names(reading.denoiser);
  reading.result.components["unet"] = unet_component(names);
  const boost::json::object& told = reading.result.components["unet"].told;
  const bool fills = told.at("in_channels") != told.at("out_channels");
  reading.result.class_name = family + (fills ? "InpaintPipeline" : "Pipeline");
  // Tensors without use but as marks.
  if (reading.file->contains("v_pred")) reading.result.scheduler_told["prediction_type"] = "v_prediction";
  if (reading.file->contains("ztsnr")) reading.result.scheduler_told["rescale_betas_zero_snr"] = true;
}

void set_scheduler(Reading& reading, const char* class_name, const char* json) {
  reading.result.scheduler_class = class_name;
  reading.result.scheduler = boost::json::parse(json).as_object();
}

void read_stable_diffusion(Reading& reading) {
  read_unet(reading, "StableDiffusion");
  read_autoencoder(reading, {.factor = 0.18215});
  read_clip(reading, "text_encoder", "cond_stage_model.transformer.", "quick_gelu", Projection::none);
  read_open_clip(reading, "text_encoder", "cond_stage_model.model.", /*all_layers=*/false);
  set_scheduler(reading, "PNDMScheduler",
                R"({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                    "skip_prk_steps": true, "set_alpha_to_one": false, "steps_offset": 1})");
}

void read_stable_diffusion_xl(Reading& reading) {
  read_unet(reading, "StableDiffusionXL");
  read_autoencoder(reading, {.factor = 0.13025});
  read_clip(reading, "text_encoder", "conditioner.embedders.0.transformer.", "quick_gelu", Projection::none);
  read_open_clip(reading, "text_encoder_2", "conditioner.embedders.1.model.", /*all_layers=*/true);
  set_scheduler(reading, "EulerDiscreteScheduler",
                R"({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                    "timestep_spacing": "leading", "steps_offset": 1})");
}

void read_sd3(Reading& reading) {
  Renaming names = reading.names(reading.denoiser);
  reading.result.class_name = "StableDiffusion3Pipeline";
  reading.result.components["transformer"] = mmdit_component(names);
  read_autoencoder(reading, {.factor = 1.5305, .shift = 0.0609});
  // Its makers take the first encoder's pooled text as it is.
  read_clip(reading, "text_encoder", "text_encoders.clip_l.transformer.", "quick_gelu", Projection::identity);
  read_clip(reading, "text_encoder_2", "text_encoders.clip_g.transformer.", "gelu", Projection::stored);
  read_t5(reading, "text_encoder_3");
  set_scheduler(reading, "FlowMatchEulerDiscreteScheduler", R"({"shift": 3.0})");
}

constexpr std::int64_t kFluxFillChannels = 384;  // packed: latents, masked picture, mask

void read_flux(Reading& reading) {
  Renaming names = reading.names(reading.denoiser);
  reading.result.class_name = "FluxPipeline";
  FileComponent& flux = reading.result.components["transformer"] = flux_component(names);
  if (flux.told.at("in_channels") == kFluxFillChannels) reading.result.class_name = "FluxFillPipeline";
  read_autoencoder(reading, {.factor = 0.3611, .shift = 0.1159});
  read_clip(reading, "text_encoder", "text_encoders.clip_l.transformer.", "quick_gelu", Projection::none);
  read_t5(reading, "text_encoder_2");
  const bool dev = flux.told.at("guidance_embeds").as_bool();
  set_scheduler(reading, "FlowMatchEulerDiscreteScheduler",
                dev ? R"({"shift": 3.0, "use_dynamic_shifting": true, "base_shift": 0.5, "max_shift": 1.15,
                          "base_image_seq_len": 256, "max_image_seq_len": 4096})"
                    : R"({"shift": 1.0})");
}

// The first kind of which the denoiser has this tensor.
struct Kind {
  const char* tensor;
  void (*read)(Reading&);
};
constexpr Kind kKinds[] = {
    {"joint_blocks.0.context_block.adaLN_modulation.1.weight", read_sd3},
    {"double_blocks.0.img_attn.qkv.weight", read_flux},
    {"single_blocks.0.linear1.weight", read_flux},
    {"label_emb.0.0.weight", read_stable_diffusion_xl},
    {"input_blocks.0.0.weight", read_stable_diffusion},
};
// Files of a denoiser alone may do without the prefix.
constexpr const char* kDenoiserPrefixes[] = {"model.diffusion_model.", ""};

// What trainers and other programs leave in a checkpoint, without meaning to the networks.
constexpr const char* kStrayBeginnings[] = {"model_ema.",
                                            "alphas_cumprod",
                                            "betas",
                                            "denoiser.",
                                            "edm_",
                                            "first_stage_model.loss.",
                                            "first_stage_model.model_ema.",
                                            "global_step",
                                            "log_one_minus_alphas_cumprod",
                                            "logvar",
                                            "lvlb_weights",
                                            "posterior_",
                                            "sqrt_",
                                            "v_pred",
                                            "ztsnr"};
constexpr const char* kStrayEndings[] = {"position_ids", "logit_scale", "attn_mask", "spiece_model"};

bool is_stray(const std::string& name) {
  const auto begins = [&name](const char* beginning) { return name.starts_with(beginning); };
  const auto ends = [&name](const char* ending) { return name.ends_with(ending); };
  return std::ranges::any_of(kStrayBeginnings, begins) || std::ranges::any_of(kStrayEndings, ends);
}

tl::unexpected<Error> refuse(const std::filesystem::path& path, std::string_view message) {
  return fail(ErrorCode::unsupported, fmt::format("{}: {}", path.string(), message), path.string());
}

const Kind* kind_of(Reading& reading) {
  for (const char* const prefix : kDenoiserPrefixes) {
    for (const Kind& kind : kKinds) {
      reading.denoiser = prefix;
      if (reading.file->contains(reading.denoiser + kind.tensor)) return &kind;
    }
  }
  return nullptr;
}

Result<SingleFile> read(const std::filesystem::path& path) {
  Reading reading;
  TRY(reading.file, Checkpoint::open_file(path));
  reading.result.path = path;
  const Kind* const kind = kind_of(reading);
  const std::vector<weights::TensorInfo> tensors = reading.file->list();
  if (kind == nullptr) {
    return refuse(path,
                  fmt::format("no checkpoint of Stable Diffusion or FLUX: among its {} tensors, such as "
                              "'{}', are none of their denoisers",
                              tensors.size(), tensors.empty() ? "" : tensors.front().name));
  }
  kind->read(reading);
  for (const auto& tensor : tensors) {
    if (!reading.taken.contains(tensor.name) && !is_stray(tensor.name)) {
      return refuse(path,
                    fmt::format("tensor '{}' is not part of a checkpoint for {}, which the others are of",
                                tensor.name, reading.result.class_name));
    }
  }
  return std::move(reading.result);
}

}  // namespace

Result<SingleFile> open_single_file(const std::filesystem::path& path) {
  try {
    return read(path);
  } catch (const weights::LoadError& error) {
    return tl::unexpected<Error>(error.error);
  }
}

}  // namespace diffused::pipelines
