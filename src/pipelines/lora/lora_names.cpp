#include "pipelines/lora/lora_names.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "pipelines/lora/original_names.h"

namespace diffused::pipelines {
namespace {

// What stands before a layer's name.
struct Prefixes {
  std::vector<std::string> dotted;  // followed by the name as it is
  std::vector<std::string> flat;    // followed by the name with _ for each dot
};

const std::map<std::string, Prefixes>& component_prefixes() {
  static const std::map<std::string, Prefixes> kPrefixes = {
      {"unet", {{"unet.", "diffusion_model.", ""}, {"lora_unet_", "lycoris_"}}},
      {"transformer",
       {{"transformer.", "diffusion_model.", ""}, {"lora_transformer_", "lora_unet_", "lycoris_"}}},
      {"text_encoder", {{"text_encoder.", "text_encoders.clip_l.transformer."}, {"lora_te_", "lora_te1_"}}},
      {"text_encoder_2", {{"text_encoder_2.", "text_encoders.clip_g.transformer."}, {"lora_te2_"}}},
      {"text_encoder_3", {{"text_encoder_3.", "text_encoders.t5xxl.transformer."}, {"lora_te3_"}}},
  };
  return kPrefixes;
}

// Of the network's makers' names.
const Prefixes kOriginalPrefixes = {
    {"diffusion_model.", "model.diffusion_model.", "unet.", "transformer.", ""}, {"lora_unet_", "lycoris_"}};
constexpr const char* kBlocks[] = {"input_blocks.", "middle_block.", "output_blocks."};

// Layers that only these have.
constexpr const char* kFlux2Mark = "transformer.single_stream_modulation.linear";
constexpr const char* kZImageMark = "transformer.all_x_embedder.2-1";

constexpr std::string_view kTextModel =
    "text_model.";  // the files of one encoder have it, those of another not

std::string flat(std::string name) {
  std::ranges::replace(name, '.', '_');
  return name;
}

std::vector<OriginalLayer> original_transformer_names(const ChangeableLayers& layers) {
  if (layers.contains("pos_embed.proj")) return original_sd3_names(layers);
  const auto has = [&layers](std::string_view mark) {
    return layers.contains(std::string(mark.substr(mark.find('.') + 1)));
  };
  if (has(kZImageMark)) return original_z_image_names(layers);
  return has(kFlux2Mark) ? original_flux2_names(layers) : original_flux_names(layers);
}

}  // namespace

LoraNames::LoraNames(const ChangeableLayers& layers) {
  std::map<std::string, ChangeableLayers> components;
  for (const auto& [name, shape] : layers) {
    const std::size_t dot = name.find('.');
    components[name.substr(0, dot)].emplace(name.substr(dot + 1), shape);
  }
  if (layers.contains(kFlux2Mark) || layers.contains(kZImageMark))
    reading_ = LoraReading::every_name;
  else if (layers.contains("transformer.x_embedder"))
    reading_ = LoraReading::flux;
  for (const auto& [component, own] : components) {
    // LoRAs of FLUX's T5 do nothing in Diffusers, and neither do those of Qwen3.
    const bool left_out = (reading_ == LoraReading::flux && component == "text_encoder_2") ||
                          (reading_ == LoraReading::every_name && component != "transformer");
    if (!left_out) add_component(component, own);
  }
}

void LoraNames::add_component(const std::string& component, const ChangeableLayers& layers) {
  const auto found = component_prefixes().find(component);
  if (found == component_prefixes().end()) return;
  const auto add_all = [&](const Prefixes& prefixes, const std::string& name, const LoraPlace& place,
                           LoraSpelling dotted, LoraSpelling flattened) {
    for (const std::string& prefix : prefixes.dotted) add(prefix + name, place, dotted);
    for (const std::string& prefix : prefixes.flat) add(prefix + flat(name), place, flattened);
  };
  const auto add_own = [&](const std::string& name, const LoraPlace& place) {
    add_all(found->second, name, place, LoraSpelling::own, LoraSpelling::flat);
  };
  for (const auto& [layer, shape] : layers) {
    const LoraPlace place{.layer = component + "." + layer, .first_row = 0, .halves_swapped = false};
    add_own(layer, place);
    if (!component.starts_with("text_encoder")) continue;
    add_own(layer.starts_with(kTextModel) ? layer.substr(kTextModel.size()) : std::string(kTextModel) + layer,
            place);
  }
  std::vector<OriginalLayer> originals;
  if (component == "unet") originals = original_unet_names(layers);
  if (component == "transformer") originals = original_transformer_names(layers);
  for (const OriginalLayer& one : originals) {
    const bool block = component == "unet" && std::ranges::any_of(kBlocks, [&one](const char* list) {
                         return one.original.starts_with(list);
                       });
    const LoraSpelling spelling = block ? LoraSpelling::makers_block : LoraSpelling::makers;
    add_all(kOriginalPrefixes, one.original,
            {.layer = component + "." + one.layer,
             .first_row = one.first_row,
             .halves_swapped = one.halves_swapped},
            spelling, spelling);
  }
}

void LoraNames::add(const std::string& name, const LoraPlace& place, LoraSpelling spelling) {
  const auto [meaning, inserted] =
      meanings_.try_emplace(name, LoraMeaning{.places = {}, .spelling = spelling});
  std::vector<LoraPlace>& places = meaning->second.places;
  // Some layers are called the same here and by the makers.
  if (std::ranges::find(places, place) == places.end()) places.push_back(place);
}

const LoraMeaning* LoraNames::find(const std::string& name) const {
  const auto found = meanings_.find(name);
  return found == meanings_.end() ? nullptr : &found->second;
}

}  // namespace diffused::pipelines
