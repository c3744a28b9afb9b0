#include "pipelines/family.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <algorithm>
#include <bit>

#include "samplers/guidance.h"

namespace diffused::pipelines {

std::string PromptIds::key() const {
  std::vector<int> parts = {clip_skip, max_sequence_length, zeros, chunks};
  for (const EncoderText& text : texts) {
    parts.push_back(static_cast<int>(text.ids.size()));
    parts.insert(parts.end(), text.ids.begin(), text.ids.end());
    parts.push_back(static_cast<int>(text.weights.size()));
    for (const float weight : text.weights) parts.push_back(std::bit_cast<int>(weight));
  }
  std::string key(reinterpret_cast<const char*>(parts.data()), parts.size() * sizeof(int));
  for (const auto& picture : pictures) {
    const Image* const place = picture.get();
    key.append(reinterpret_cast<const char*>(&place), sizeof place);
  }
  return key;
}

int Guidance::end(const samplers::Schedule& schedule) const {
  // Not all samplers count their timesteps so: from 1000, noise, down.
  if (until >= 1) return schedule.calls();
  constexpr float kNoise = 1000;
  const auto past = [this](float timestep) { return (kNoise - timestep) / kNoise > until; };
  return static_cast<int>(std::ranges::find_if(schedule.timesteps, past) - schedule.timesteps.begin());
}

at::Tensor Guidance::apply(const at::Tensor& negative, const at::Tensor& positive,
                           const at::Tensor& poorer) const {
  at::Tensor guided = from == GuidanceFrom::negative ? samplers::guide(negative, positive, scale)
                                                     : samplers::guide_further(negative, positive, scale);
  if (poorer.defined()) guided = guided + (positive - poorer) * skip_scale;
  if (keeps_norm) guided = samplers::with_norm_of(guided, positive);
  return samplers::with_norm_below(samplers::rescaled(guided, positive, rescale), positive, norm_max);
}

Result<ReferenceFit> Family::reference_fit(int, int) const {
  return fail(ErrorCode::invalid_argument, "this model takes no reference pictures");
}

std::int64_t Family::reference_tokens(const GenerateRequest& resolved, int pixels_per_token) const {
  const auto tokens = [pixels_per_token](int width, int height) {
    return std::int64_t{width / pixels_per_token} * (height / pixels_per_token);
  };
  std::int64_t sum = 0;
  if (traits().goes_by_source(resolved)) sum += tokens(*resolved.width, *resolved.height);
  for (const auto& reference : resolved.references) {
    const ReferenceFit fit = reference_fit(reference->width, reference->height).value();
    sum += tokens(fit.width, fit.height);
  }
  return sum;
}

at::Tensor Family::fill(const at::Tensor& mask, const at::Tensor& kept) const {
  return at::cat({at::upsample_nearest2d(mask, kept.sizes().slice(2)), kept}, 1);  // [1, 1 + C, h, w]
}

at::Tensor NetworkCall::contexts() const {
  std::vector<at::Tensor> contexts;
  for (const PromptEmbedding* const prompt : prompts) contexts.push_back(prompt->context);
  return at::cat(contexts);
}

at::Tensor NetworkCall::tokens() const {
  const at::Tensor made = fill.defined() ? at::cat({latents, fill}, 2) : latents;
  return references.defined() ? at::cat({made, references}, 1) : made;
}

std::size_t PromptEmbedding::bytes() const {
  std::size_t sum = 0;
  for (const at::Tensor* tensor : {&context, &repeats, &pooled})
    sum += tensor->defined() ? tensor->nbytes() : 0;
  for (const auto& picture : pictures) sum += picture->pixels.size();
  return sum;
}

}  // namespace diffused::pipelines
