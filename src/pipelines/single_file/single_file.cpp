#include "pipelines/single_file/single_file.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <set>

#include "base/log.h"
#include "pipelines/single_file/noise_marks.h"
#include "weights/scope.h"

namespace diffused::pipelines {
namespace {

using weights::Checkpoint;
using weights::Renaming;

// A file on its way to components.
struct Reading {
  std::shared_ptr<Checkpoint> file;
  std::string denoiser;         // prefix of its tensors
  std::set<std::string> taken;  // the file's names of what is accounted for
  SingleFile result;

  Renaming names(const std::string& prefix) { return {file, prefix, taken}; }
};

// The first of these beginnings that is one of this tensor, or of a part of it; null for none.
const char* beginning_of(const Checkpoint& file, std::initializer_list<const char*> beginnings,
                         const char* tensor) {
  for (const char* const beginning : beginnings) {
    if (file.contains_under(beginning + std::string(tensor))) return beginning;
  }
  return nullptr;
}

void read_autoencoder(Reading& reading, LatentScale scale) {
  const char* const prefix =
      beginning_of(*reading.file, {"first_stage_model.", "vae."}, "decoder.conv_in.weight");
  if (!prefix) return;
  Renaming names = reading.names(prefix);
  reading.result.components["vae"] = autoencoder_component(names, scale);
}

// Under the makers' prefix, or Diffusers' name of the component.
void read_clip(Reading& reading, const std::string& component, const char* makers, const char* activation,
               Projection projection) {
  const std::string own = component + ".";
  const char* const prefix = beginning_of(*reading.file, {makers, own.c_str()}, "text_model.");
  if (!prefix) return;
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
  const std::string own = component + ".";
  const char* const prefix =
      beginning_of(*reading.file, {"text_encoders.t5xxl.transformer.", own.c_str()}, "encoder.block.");
  if (!prefix) return;
  Renaming names = reading.names(prefix);
  reading.result.components[component] = t5_component(names);
}

void read_qwen3(Reading& reading) {
  const char* const prefix = beginning_of(
      *reading.file,
      {"text_encoders.qwen3_4b.transformer.", "text_encoders.qwen3_8b.transformer.", "text_encoder."},
      "model.layers.");
  if (!prefix) return;
  Renaming names = reading.names(prefix);
  reading.result.components["text_encoder"] = qwen3_component(names);
}

void set_scheduler(Reading& reading, const char* class_name, const char* json) {
  reading.result.scheduler_class = class_name;
  reading.result.scheduler = boost::json::parse(json).as_object();
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

constexpr const char* kRefinerClass = "StableDiffusionXLImg2ImgPipeline";

void read_stable_diffusion(Reading& reading) {
  read_unet(reading, "StableDiffusion");
  read_autoencoder(reading, {.factor = 0.18215});
  read_clip(reading, "text_encoder", "cond_stage_model.transformer.", "quick_gelu", Projection::none);
  read_open_clip(reading, "text_encoder", "cond_stage_model.model.", /*all_layers=*/false);
  set_scheduler(reading, "PNDMScheduler",
                R"({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                    "skip_prk_steps": true, "set_alpha_to_one": false, "steps_offset": 1})");
}

// Of the refiner, whose one text encoder is the base's second, published files have 2560 conditions.
constexpr std::int64_t kRefinerConditions = 2560;

void read_stable_diffusion_xl(Reading& reading) {
  read_unet(reading, "StableDiffusionXL");
  const char* const refiner = "conditioner.embedders.0.model.";
  const auto* const conditions = reading.file->shape(reading.denoiser + "label_emb.0.0.weight");
  if (reading.file->contains_under(refiner) || (conditions && conditions->back() == kRefinerConditions))
    reading.result.class_name = kRefinerClass;
  read_open_clip(reading, "text_encoder_2", refiner, /*all_layers=*/true);
  read_autoencoder(reading, {.factor = 0.13025});
  read_clip(reading, "text_encoder", "conditioner.embedders.0.transformer.", "quick_gelu", Projection::none);
  read_open_clip(reading, "text_encoder_2", "conditioner.embedders.1.model.", /*all_layers=*/true);
  read_clip(reading, "text_encoder_2", "text_encoder_2.", "gelu", Projection::stored);
  set_scheduler(reading, "EulerDiscreteScheduler",
                R"({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                    "timestep_spacing": "leading", "steps_offset": 1})");
  NoiseMarks marks = read_noise_marks(*reading.file);
  if (marks.scheduler_class.empty()) return;
  reading.result.scheduler_marked = true;
  reading.result.scheduler_class = std::move(marks.scheduler_class);
  reading.result.scheduler = std::move(marks.scheduler);
  reading.result.scheduler_told = std::move(marks.scheduler_told);
  reading.result.vae_marked = std::move(marks.vae_marked);
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

constexpr std::int64_t kFluxFillChannels = 384;     // packed: latents, masked picture, mask
constexpr std::int64_t kFluxControlChannels = 128;  // latents, and the picture that controls

// Kontext is FLUX.1 dev with other weights: of its file nothing but the name tells.
bool is_named_kontext(const std::filesystem::path& path) {
  const std::string name = path.stem().string();
  return name.find("kontext") != name.npos || name.find("Kontext") != name.npos;
}

void read_flux(Reading& reading) {
  Renaming names = reading.names(reading.denoiser);
  reading.result.class_name = "FluxPipeline";
  FileComponent& flux = reading.result.components["transformer"] = flux_component(names);
  if (flux.told.at("in_channels") == kFluxFillChannels) reading.result.class_name = "FluxFillPipeline";
  if (flux.told.at("in_channels") == kFluxControlChannels) reading.result.class_name = "FluxControlPipeline";
  if (is_named_kontext(reading.result.path)) reading.result.class_name = "FluxKontextPipeline";
  read_autoencoder(reading, {.factor = 0.3611, .shift = 0.1159});
  read_clip(reading, "text_encoder", "text_encoders.clip_l.transformer.", "quick_gelu", Projection::none);
  read_t5(reading, "text_encoder_2");
  const bool dev = flux.told.at("guidance_embeds").as_bool();
  set_scheduler(reading, "FlowMatchEulerDiscreteScheduler",
                dev ? R"({"shift": 3.0, "use_dynamic_shifting": true, "base_shift": 0.5, "max_shift": 1.15,
                          "base_image_seq_len": 256, "max_image_seq_len": 4096})"
                    : R"({"shift": 1.0})");
}

void read_flux2(Reading& reading) {
  Renaming names = reading.names(reading.denoiser);
  FileComponent& flux = reading.result.components["transformer"] = flux2_component(names);
  reading.result.class_name =
      flux.told.at("guidance_embeds").as_bool() ? "Flux2Pipeline" : "Flux2KleinPipeline";
  read_autoencoder(reading, {});
  read_qwen3(reading);
  set_scheduler(reading, "FlowMatchEulerDiscreteScheduler",
                R"({"shift": 3.0, "use_dynamic_shifting": true, "base_shift": 0.5, "max_shift": 1.15})");
}

void read_z_image(Reading& reading) {
  Renaming names = reading.names(reading.denoiser);
  reading.result.class_name = "ZImagePipeline";
  reading.result.components["transformer"] = z_image_component(names);
  read_autoencoder(reading, {.factor = 0.3611, .shift = 0.1159});
  read_qwen3(reading);
  set_scheduler(reading, "FlowMatchEulerDiscreteScheduler", R"({"shift": 3.0})");
}

// The first kind of which the denoiser has this tensor.
struct Kind {
  const char* tensor;
  void (*read)(Reading&);
};
constexpr Kind kKinds[] = {
    {"joint_blocks.0.context_block.adaLN_modulation.1.weight", read_sd3},
    {"layers.0.adaLN_modulation.0.weight", read_z_image},
    {"single_stream_modulation.lin.weight", read_flux2},
    {"double_blocks.0.img_attn.qkv.weight", read_flux},
    {"single_blocks.0.linear1.weight", read_flux},
    {"label_emb.0.0.weight", read_stable_diffusion_xl},
    {"input_blocks.0.0.weight", read_stable_diffusion},
    // In Diffusers' names.
    {"pos_embed.proj.weight", read_sd3},
    {"single_stream_modulation.linear.weight", read_flux2},
    {"transformer_blocks.0.attn.to_q.weight", read_flux},
    {"single_transformer_blocks.0.attn.to_q.weight", read_flux},
    {"add_embedding.linear_1.weight", read_stable_diffusion_xl},
    {"time_embedding.linear_1.weight", read_stable_diffusion},
};
// Files of a denoiser alone may do without the prefix.
constexpr const char* kDenoiserPrefixes[] = {"model.diffusion_model.", "diffusion_model.", "unet.",
                                             "transformer.", ""};

// Files that look like one of those kinds and are none that is served.
struct OtherKind {
  const char* tensor;  // the beginning of one, without the denoiser's prefix
  std::string_view what;
};
constexpr std::string_view kControlNet = "a ControlNet, which guides another model, and is not served";
constexpr OtherKind kOtherKinds[] = {
    {"controlnet_cond_embedding.", kControlNet},
    {"input_hint_block.", kControlNet},
    {"control_layers.", kControlNet},
    {"controlnet_blocks.", kControlNet},
    {"motion_modules.", "a motion module of AnimateDiff, which is not served"},
    {"distilled_guidance_layer.", "a Chroma, which is not served"},
};

// What trainers and other programs leave in a checkpoint, without meaning to the networks.
constexpr const char* kStrayBeginnings[] = {"model_ema.",
                                            "alphas_cumprod",
                                            "betas",
                                            "decay",
                                            "denoiser.",
                                            "edm_mean",
                                            "edm_std",
                                            "edm_vpred.",
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

// How components that are no denoiser begin: what lies there and is not read is none of the denoiser's.
constexpr const char* kOtherParts[] = {"conditioner.",    "cond_stage_model.", "first_stage_model.",
                                       "model_sampling.", "text_encoder",      "vae."};

bool is_stray(const std::string& name) {
  const auto begins = [&name](const char* beginning) { return name.starts_with(beginning); };
  const auto ends = [&name](const char* ending) { return name.ends_with(ending); };
  return std::ranges::any_of(kStrayBeginnings, begins) || std::ranges::any_of(kStrayEndings, ends);
}

// Whether a tensor that nobody read may belong to the denoiser: then the file is of another kind than it
// looks.
bool may_be_the_denoisers(const std::string& name, const std::string& denoiser) {
  if (!denoiser.empty()) return name.starts_with(denoiser);
  return std::ranges::none_of(kOtherParts, [&name](const char* part) { return name.starts_with(part); });
}

tl::unexpected<Error> refuse(const std::filesystem::path& path, std::string_view message) {
  return fail(ErrorCode::unsupported, fmt::format("{}: {}", path.string(), message), path.string());
}

// What the file is, when it is one of those kinds; else empty.
std::string_view other_kind_of(const Reading& reading) {
  for (const OtherKind& kind : kOtherKinds) {
    for (const std::string& prefix : {std::string(), reading.denoiser, std::string("control_model.")}) {
      if (reading.file->contains_under(prefix + kind.tensor)) return kind.what;
    }
  }
  return {};
}

// A guess at a file without any denoiser, by one of its tensors.
std::string_view guess(const std::vector<weights::TensorInfo>& tensors) {
  for (const weights::TensorInfo& tensor : tensors) {
    const auto holds = [&tensor](const char* part) { return tensor.name.find(part) != std::string::npos; };
    if (holds("lora_") || holds("lokr_") || holds("hada_"))
      return "; it looks like a LoRA, for a folder of --loras";
    if (holds("emb_params") || tensor.name == "clip_l" || tensor.name == "clip_g")
      return "; it looks like a textual inversion";
    if (holds("decoder.conv_in.")) return "; it looks like an autoencoder, for --vae";
    if (holds("text_model.encoder.") || holds("encoder.block.0.layer."))
      return "; it looks like a text encoder alone";
  }
  return "";
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
  if (const std::string_view other = other_kind_of(reading); !other.empty()) return refuse(path, other);
  if (kind == nullptr) {
    return refuse(
        path, fmt::format("no checkpoint of Stable Diffusion, FLUX or Z-Image: among its {} tensors, such as "
                          "'{}', are none of their denoisers{}",
                          tensors.size(), tensors.empty() ? "" : tensors.front().name, guess(tensors)));
  }
  kind->read(reading);
  std::vector<std::string> left_out;
  for (const auto& tensor : tensors) {
    if (reading.taken.contains(tensor.name) || is_stray(tensor.name)) continue;
    if (may_be_the_denoisers(tensor.name, reading.denoiser)) {
      return refuse(path,
                    fmt::format("tensor '{}' is not part of a checkpoint for {}, which the others are of",
                                tensor.name, reading.result.class_name));
    }
    left_out.push_back(tensor.name);
  }
  if (!left_out.empty()) {
    log(LogLevel::warning, "tensors_left_out",
        {{"file", path.string()}, {"first", left_out.front()}, {"count", left_out.size()}});
  }
  return std::move(reading.result);
}

Result<FileComponent> read_autoencoder_alone(const std::filesystem::path& path) {
  Reading reading;
  TRY(reading.file, Checkpoint::open_file(path));
  const char* const prefix =
      beginning_of(*reading.file, {"", "first_stage_model.", "vae."}, "decoder.conv_in.weight");
  if (!prefix) return refuse(path, "holds no autoencoder of Stable Diffusion or FLUX");
  Renaming names = reading.names(prefix);
  return autoencoder_component(names, {});
}

// What throws LoadError as its Result.
template <typename F>
auto caught(const F& f) -> decltype(f()) {
  try {
    return f();
  } catch (const weights::LoadError& error) {
    return tl::unexpected<Error>(error.error);
  }
}

}  // namespace

Result<SingleFile> open_single_file(const std::filesystem::path& path) {
  return caught([&] { return read(path); });
}

Result<FileComponent> open_autoencoder_file(const std::filesystem::path& path) {
  return caught([&] { return read_autoencoder_alone(path); });
}

}  // namespace diffused::pipelines
