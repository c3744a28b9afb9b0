// Building one network from its component folder.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "pipelines/model_folder.h"
#include "weights/scope.h"

namespace diffused::pipelines {

// The sizes of the weights that LoRAs can change, by layer: "unet.mid_block.attentions.0.proj_in".
using ChangeableLayers = std::map<std::string, std::vector<std::int64_t>>;

// What loading networks adds up to.
struct LoadedWeights {
  weights::CheckpointUse use;
  ChangeableLayers changeable;
};

// A Network(config, Scope) from the weights named `stem` in the component's folder; every tensor there must
// be part of it, but for those of the prefixes in `left_out`. Adds what it holds to `loaded`. Throws
// weights::LoadError.
template <typename Network, typename Config>
Result<Network> load_component(const ModelFolder& folder, const std::string& component,
                               const std::string& stem, const Config& config, at::ScalarType dtype,
                               at::Device device, LoadedWeights& loaded,
                               std::initializer_list<std::string_view> left_out = {}) {
  TRY(const auto checkpoint, folder.checkpoint(component, stem));
  Network network(config, weights::Scope(checkpoint, "", dtype, device, component));
  checkpoint->require_all_used(left_out);
  loaded.use.parameters += checkpoint->use().parameters;
  loaded.use.bytes += checkpoint->use().bytes;
  for (const std::string& layer : checkpoint->changeable_layers())
    loaded.changeable.emplace(component + "." + layer, *checkpoint->shape(layer + ".weight"));
  return network;
}

}  // namespace diffused::pipelines
