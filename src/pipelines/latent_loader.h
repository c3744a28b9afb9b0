// Loading a model folder: what every family of latent diffusion models has, and help with the rest.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pipelines/autoencoder_list.h"
#include "pipelines/component.h"
#include "pipelines/family.h"
#include "pipelines/latent_model.h"
#include "pipelines/load_options.h"
#include "pipelines/model_folder.h"
#include "pipelines/network_store.h"
#include "pipelines/textual_inversion.h"
#include "samplers/catalog.h"

namespace diffused::pipelines {

// What a family says before anything is loaded; the numbers are those of Diffusers' call.
struct FamilyDefaults {
  samplers::Process process = samplers::Process::flow;
  int steps = 0;
  double guidance_scale = 0;
  // What the family's pipelines change in a scheduler's options; null: nothing. That of edits with a mask may
  // differ from the others.
  void (*amend_scheduler)(boost::json::object& options, bool masked) = nullptr;
  // Whether an added token in a prompt brings its further vectors along (Tokenizer::with_all_vectors).
  bool tokens_of_several_vectors = true;
  // Whether latents_mean and latents_std of the autoencoder's config count.
  bool latents_by_channel = false;
};

// One folder on its way to a model: begin(), then the family's networks by network(), then finish(). What
// costs little and fails often comes first.
class LatentLoader {
 public:
  // Reads the options, the autoencoder's config and the scheduler. The folder's optional file diffused.json,
  // {"num_inference_steps": 28, "guidance_scale": 7.0}, gives the model's own defaults. `folder` must outlive
  // the loader. Errors as load_pipeline.
  static Result<LatentLoader> begin(const ModelFolder& folder, const LoadOptions& options,
                                    const FamilyDefaults& defaults);

  const ModelFolder& folder() const { return *folder_; }
  const LoadOptions& options() const { return options_; }
  const models::LatentFormat& latents() const { return autoencoder_.format; }
  bool tokens_of_several_vectors() const { return tokens_of_several_vectors_; }
  // The words that the text encoder of this component gets besides its vocabulary.
  const std::vector<LearnedWord>& learned_words(const std::string& component) { return words_[component]; }
  at::ScalarType dtype() const { return dtype_; }
  at::Device device() const { return device_; }

  // Reads a network, as load_component. Throws weights::LoadError.
  template <typename Network, typename Config>
  Result<std::shared_ptr<const Network>> network(const std::string& component, const std::string& stem,
                                                 const Config& config,
                                                 std::initializer_list<std::string_view> left_out = {}) {
    return load_component<Network>(*folder_, component, stem, config, {*store_, dtype_, device_}, loaded_,
                                   left_out);
  }

  // Whether the transformer takes and gives the autoencoder's latents, of which it packs a square of `patch`
  // by `patch` pixels into the channels of one, and besides them sees `fill_channels`. Error: unsupported.
  Result<void> check_latents(std::int64_t in_channels, std::int64_t out_channels, std::int64_t patch = 1,
                             std::int64_t fill_channels = 0) const;

  // Reads the autoencoder and puts the model together. Throws weights::LoadError.
  Result<LatentModel> finish(std::unique_ptr<const Family> family);

 private:
  LatentLoader(const ModelFolder& folder, LoadOptions options, at::ScalarType dtype, at::Device device)
      : folder_(&folder),
        options_(std::move(options)),
        store_(options_.networks ? options_.networks : std::make_shared<NetworkStore>()),
        dtype_(dtype),
        device_(device) {}

  const ModelFolder* folder_;
  LoadOptions options_;
  std::shared_ptr<NetworkStore> store_;
  at::ScalarType dtype_;
  at::Device device_;
  AutoencoderPlan autoencoder_;
  SamplerList samplers_, masked_samplers_;
  PipelineInfo info_;
  bool own_guidance_scale_ = false;
  bool tokens_of_several_vectors_ = true;
  LearnedWords words_;
  LoadedWeights loaded_;
};

}  // namespace diffused::pipelines
