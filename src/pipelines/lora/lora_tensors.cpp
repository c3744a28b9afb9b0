#include "pipelines/lora/lora_tensors.h"

#include <fmt/format.h>

#include <algorithm>

namespace diffused::pipelines {
namespace {

struct Ending {
  std::string_view text;
  LoraPart part;
};
constexpr Ending kEndings[] = {
    {".lora_A.weight", LoraPart::down},
    {".lora_B.weight", LoraPart::up},
    {".lora_A.default.weight", LoraPart::down},
    {".lora_B.default.weight", LoraPart::up},
    {".lora_down.weight", LoraPart::down},
    {".lora_up.weight", LoraPart::up},
    {".lora_mid.weight", LoraPart::mid},
    {".lora.down.weight", LoraPart::down},
    {".lora.up.weight", LoraPart::up},
    {"_lora.down.weight", LoraPart::down},
    {"_lora.up.weight", LoraPart::up},
    {".lora_linear_layer.down.weight", LoraPart::down},
    {".lora_linear_layer.up.weight", LoraPart::up},
    {".lora_B.bias", LoraPart::up_bias},
    {".lora_up.bias", LoraPart::up_bias},
    {".lora_magnitude_vector", LoraPart::magnitude},
    {".lora_magnitude_vector.weight", LoraPart::magnitude},
    {".lora_magnitude_vector.default.weight", LoraPart::magnitude},
    {".dora_scale", LoraPart::dora_scale},
    {".alpha", LoraPart::alpha},
    {".diff", LoraPart::diff},
    {".diff_b", LoraPart::diff_bias},
    {".w_norm", LoraPart::norm},
    {".b_norm", LoraPart::norm_bias},
    {".hada_w1_a", LoraPart::hada_w1_a},
    {".hada_w1_b", LoraPart::hada_w1_b},
    {".hada_w2_a", LoraPart::hada_w2_a},
    {".hada_w2_b", LoraPart::hada_w2_b},
    {".hada_t1", LoraPart::hada_t1},
    {".hada_t2", LoraPart::hada_t2},
    {".lokr_w1", LoraPart::lokr_w1},
    {".lokr_w1_a", LoraPart::lokr_w1_a},
    {".lokr_w1_b", LoraPart::lokr_w1_b},
    {".lokr_w2", LoraPart::lokr_w2},
    {".lokr_w2_a", LoraPart::lokr_w2_a},
    {".lokr_w2_b", LoraPart::lokr_w2_b},
    {".lokr_t2", LoraPart::lokr_t2},
    // XLabs', after the processors' own endings: "double_blocks.0.processor.qkv_lora1.down.weight".
    {".down.weight", LoraPart::down},
    {".up.weight", LoraPart::up},
};

struct OtherAdapter {
  std::string_view mark, name;
};
constexpr OtherAdapter kOthers[] = {{".oft_", "OFT"},     {"oft_blocks", "OFT"}, {"oft_diag", "OFT"},
                                    {"boft", "BOFT"},     {"glora", "GLoRA"},    {".a1.weight", "GLoRA"},
                                    {".on_input", "IA3"}, {"vera_", "VeRA"}};

void replace(std::string& text, std::string_view from, std::string_view to) {
  if (const std::size_t at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
}

// One spelling of the layer's name: without the wrapper that PEFT puts round a model, and without the
// "processors" of attention in which Diffusers of 2023 and XLabs kept a LoRA.
std::string modern(std::string name) {
  replace(name, "base_model.model.", "");
  replace(name, ".processor.", ".");
  if (name.find(".self_attn.to_") == std::string::npos) return name;
  replace(name, ".to_out", ".out_proj");
  for (const char letter : {'q', 'k', 'v'})
    replace(name, fmt::format(".to_{}", letter), fmt::format(".{}_proj", letter));
  return name;
}

}  // namespace

LoraGroups group_lora_tensors(const weights::Checkpoint& file) {
  LoraGroups groups;
  for (const weights::TensorInfo& tensor : file.list()) {
    const std::string& name = tensor.name;
    const auto ending =
        std::ranges::find_if(kEndings, [&](const Ending& known) { return name.ends_with(known.text); });
    if (ending == std::end(kEndings) || !other_adapter(name).empty()) {
      groups.unknown.push_back(name);
      continue;
    }
    LoraTensors& layer = groups.layers[modern(name.substr(0, name.size() - ending->text.size()))];
    layer[ending->part] = name;  // of two spellings the last one counts, as in Diffusers
  }
  return groups;
}

std::string_view other_adapter(std::string_view tensor) {
  for (const OtherAdapter& other : kOthers) {
    if (tensor.find(other.mark) != std::string_view::npos) return other.name;
  }
  return {};
}

}  // namespace diffused::pipelines
