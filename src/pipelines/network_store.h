// The networks in memory, so that models whose files hold the same one share it
// (docs/decisions/0017-one-copy-of-equal-files.md).
#pragma once

#include <ATen/core/Tensor.h>

#include <any>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/scope.h"

namespace diffused::pipelines {

// The sizes of the weights that LoRAs can change, by layer: "unet.mid_block.attentions.0.proj_in".
using ChangeableLayers = std::map<std::string, std::vector<std::int64_t>>;

// What loading a network told of it.
struct NetworkFacts {
  std::uint64_t id = 0;  // equal for equal networks, also when they come and go
  weights::CheckpointUse use;
  ChangeableLayers changeable;  // by the checkpoint's names, without a component

  // What its layers' names for LoRAs begin with. Its own, as models may call it by different ones.
  std::string layer_prefix() const { return "network" + std::to_string(id); }
};

// What besides its tensors makes a Network what it is.
template <typename Network, typename Config>
struct NetworkKind {
  Config config;
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;

  bool operator==(const NetworkKind&) const = default;
};

// Holds no network: the models do, and the last of them frees it. Any thread; one load at a time.
class NetworkStore {
 public:
  template <typename Network>
  struct Loaded {
    std::shared_ptr<const Network> network;
    NetworkFacts facts;
  };

  // The Network(config, Scope) of these tensors: one that is in memory already, or a new one, all of whose
  // tensors but those of the prefixes `left_out` must be part of it. `taken`: ids of those that the model
  // has already, of which it gets none: its LoRAs tell them apart. Throws weights::LoadError.
  template <typename Network, typename Config>
  Loaded<Network> load(const NetworkKind<Network, Config>& kind,
                       const std::shared_ptr<weights::Checkpoint>& checkpoint,
                       const std::set<std::uint64_t>& taken,
                       std::initializer_list<std::string_view> left_out) {
    using Kind = NetworkKind<Network, Config>;
    const std::lock_guard lock(mutex_);
    Record& record = find(kind, checkpoint->fingerprint(), taken, [&kind](const std::any& other) {
      const auto* const known = std::any_cast<Kind>(&other);
      return known && *known == kind;
    });
    if (auto there = std::static_pointer_cast<const Network>(record.network.lock()))
      return {std::move(there), record.facts};
    auto network = std::make_shared<const Network>(
        kind.config, weights::Scope(checkpoint, "", kind.dtype, kind.device, record.facts.layer_prefix()));
    checkpoint->require_all_used(left_out);
    record.facts.use = checkpoint->use();
    for (const std::string& layer : checkpoint->changeable_layers())
      record.facts.changeable[layer] = *checkpoint->shape(layer + ".weight");
    record.network = network;
    return {std::move(network), record.facts};
  }

 private:
  // One that has been loaded, whether it still is or not.
  struct Record {
    NetworkFacts facts;
    std::any kind;  // a NetworkKind
    weights::Fingerprint tensors;
    std::weak_ptr<const void> network;  // empty while no model has it
  };

  Record& find(std::any kind, weights::Fingerprint tensors, const std::set<std::uint64_t>& taken,
               const std::function<bool(const std::any&)>& same_kind);

  std::mutex mutex_;
  std::vector<Record> records_;
  weights::FingerprintComparer comparer_;
  std::uint64_t last_id_ = 0;
};

}  // namespace diffused::pipelines
