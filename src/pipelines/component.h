// Building one network from its component folder.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "job/weights.h"
#include "pipelines/model_folder.h"
#include "pipelines/network_store.h"

namespace diffused::pipelines {

// What a component's network calls itself in the names of its layers: "text_encoder_2" → "network7".
using LayerPrefixes = std::map<std::string, std::string>;

// What loading networks adds up to.
struct LoadedWeights {
  std::uint64_t parameters = 0;
  std::vector<NetworkWeights> networks;
  ChangeableLayers changeable;  // by component and layer
  LayerPrefixes prefixes;
  std::map<std::string, std::shared_ptr<weights::Checkpoint>> checkpoints;  // by component
};

// How a model's networks are kept, and where those are that others have.
struct NetworkPlace {
  NetworkStore& store;
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
};

// A Network(config, Scope) of these tensors. Adds its size to `loaded`. Throws weights::LoadError.
template <typename Network, typename Config>
NetworkStore::Loaded<Network> load_network(const std::shared_ptr<weights::Checkpoint>& checkpoint,
                                           const Config& config, const NetworkPlace& place,
                                           LoadedWeights& loaded,
                                           std::initializer_list<std::string_view> left_out) {
  std::set<std::uint64_t> taken;
  for (const NetworkWeights& network : loaded.networks) taken.insert(network.id);
  auto made = place.store.load(NetworkKind<Network, Config>{config, place.dtype, place.device}, checkpoint,
                               taken, left_out);
  loaded.parameters += made.facts.use.parameters;
  loaded.networks.push_back({made.facts.id, made.facts.use.bytes});
  return made;
}

// A Network(config, Scope) from the weights named `stem` in the component's folder; every tensor there must
// be part of it, but for those of the prefixes in `left_out`. Adds what it holds to `loaded`. Throws
// weights::LoadError.
template <typename Network, typename Config>
Result<std::shared_ptr<const Network>> load_component(const ModelFolder& folder, const std::string& component,
                                                      const std::string& stem, const Config& config,
                                                      const NetworkPlace& place, LoadedWeights& loaded,
                                                      std::initializer_list<std::string_view> left_out = {}) {
  TRY(const auto checkpoint, folder.checkpoint(component, stem));
  const auto [network, facts] = load_network<Network>(checkpoint, config, place, loaded, left_out);
  for (const auto& [layer, shape] : facts.changeable) loaded.changeable[component + "." + layer] = shape;
  loaded.prefixes[component] = facts.layer_prefix();
  loaded.checkpoints[component] = checkpoint;
  return network;
}

}  // namespace diffused::pipelines
