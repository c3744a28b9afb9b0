// Random LoRAs of a tiny model's layers.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "support/files.h"
#include "support/safetensors.h"
#include "weights/checkpoint.h"

namespace diffused::pipelines {

// Adds to `tensors` a LoRA of a component's layers whose names end in one of `endings`.
inline void add_lora_of(const std::filesystem::path& model, const std::string& component,
                        const std::string& stem, std::initializer_list<const char*> endings,
                        test::NamedTensors& tensors) {
  constexpr std::int64_t kRank = 2;
  const auto checkpoint = weights::Checkpoint::open(model / component, {.stem = stem, .variant = {}}).value();
  for (const weights::TensorInfo& tensor : checkpoint->list()) {
    constexpr std::string_view kWeight = ".weight";
    if (!tensor.name.ends_with(kWeight)) continue;
    const std::string layer = tensor.name.substr(0, tensor.name.size() - kWeight.size());
    if (std::ranges::none_of(endings, [&](const char* ending) { return layer.ends_with(ending); })) continue;
    std::vector<std::int64_t> down = tensor.shape;
    down.front() = kRank;
    tensors.emplace_back(component + "." + layer + ".lora_A.weight", at::randn(down) * 0.2);
    tensors.emplace_back(component + "." + layer + ".lora_B.weight",
                         at::randn({tensor.shape.front(), kRank}) * 0.2);
  }
}

// Writes a LoRA of a tiny model: of its denoiser's attention, perceptrons, convolutions and timesteps, and of
// its first text encoder.
inline void write_lora(const std::filesystem::path& path, const std::filesystem::path& model) {
  test::NamedTensors tensors;
  const std::string denoiser = std::filesystem::exists(model / "unet") ? "unet" : "transformer";
  add_lora_of(model, denoiser, "diffusion_pytorch_model",
              {"to_q", "to_v", "to_out.0", "add_k_proj", "ff.net.0.proj", "ff.net.2", "proj_in", "conv1",
               "conv_in", "samplers.0.conv", "conv_shortcut", "linear_1", "norm1.linear", "time_emb_proj",
               "img_mod.1", "txt_mlp.net.2"},
              tensors);
  add_lora_of(model, "text_encoder", "model", {"q_proj", "fc2"}, tensors);
  write_file(path, test::safetensors_file(tensors));
}

}  // namespace diffused::pipelines
