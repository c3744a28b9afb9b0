// Follows the denoising loops of diffusers 0.42.1's pipelines, which differ in little but what Family tells.
// What differs from them: each picture has its own generator (Diffusers' list of generators), rows at any
// steps share a forward pass, and prompts are cached.
#include "pipelines/latent_pipeline.h"

#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "base/check.h"
#include "image/channels.h"
#include "image/resize.h"
#include "pipelines/latent_preview.h"
#include "pipelines/latent_request.h"
#include "pipelines/latent_row.h"
#include "pipelines/memory_errors.h"
#include "pipelines/row_calls.h"
#include "pipelines/step_memory.h"
#include "samplers/noise.h"

namespace diffused::pipelines {
namespace {

// What the network is told of this many steps is computed at once. Counted from a picture's own first step,
// so that its bytes depend on nothing else.
constexpr int kConditioningSteps = 8;

// Keys of one row's decode; an autoencoder has a few dozen stages.
constexpr std::uint64_t kDecodeUnitsMax = 1 << 16;

// Equal for rows that need the same prompts encoded.
std::string prompt_key(const LatentRow& row) {
  return row.positive.key + (row.negative ? row.negative->key : std::string());
}

// Clamped in the decoder's dtype, as Diffusers does.
Image to_picture(const at::Tensor& decoded) { return to_image((decoded * 0.5 + 0.5).clamp(0, 1)); }

// All stages at once.
Image decoded(const models::LatentDecoder& decoder, const at::Tensor& latents, LatentSize size) {
  at::Tensor x = decoder.unscaled(latents);
  const std::size_t stages = decoder.decode_flops(size.height, size.width).size();
  for (std::size_t stage = 0; stage < stages; ++stage) x = decoder.decode_stage(stage, x);
  return to_picture(x);
}

class LatentPipeline final : public Pipeline {
 public:
  LatentPipeline(LatentModel model, std::size_t prompt_cache_bytes)
      : model_(std::move(model)),
        family_(*model_.family),
        preview_(*model_.autoencoder, model_.dtype, model_.device),
        prompts_(prompt_cache_bytes) {}

  const PipelineInfo& info() const override { return model_.info; }
  PipelineStats stats() const override {
    PipelineStats stats = prompts_.stats();
    stats.steps_skipped = steps_skipped_;
    return stats;
  }
  Result<GenerateRequest> resolve(GenerateRequest request) const override {
    return resolve_request(model_, std::move(request));
  }
  double cost_flops(const GenerateRequest& resolved) const override {
    const LatentWork work = work_of(model_, resolved);
    const samplers::Schedule schedule = schedule_of(model_, resolved).value();
    if (schedule.begin == schedule.end()) return 0;
    const auto guidance = family_.guidance(resolved);
    const int steps = schedule.end() - schedule.begin;
    double denoise_flops = steps * work.step_flops;
    for (int step = 0; step < steps; ++step) {
      if (guidance && guidance->skips_at(step, steps)) denoise_flops += work.skip_flops;
    }
    return work.encode_flops + static_cast<double>(resolved.n()) * (denoise_flops + work.decode_flops);
  }
  double unit_flops(const GenerateRequest& resolved) const override {
    const LatentWork work = work_of(model_, resolved);
    // Pictures are encoded in one unit.
    double longest = std::max(work.step_flops + work.skip_flops, work.pictures_flops);
    for (const DecodeUnit& unit : work.decode_units) longest = std::max(longest, unit.flops);
    return longest;
  }
  Result<std::unique_ptr<Row>> begin(const GenerateRequest& resolved, std::size_t image_index) override;
  void run(std::span<Row* const> rows) override;
  Result<bool> finish_early(Row& row) override;
  Result<Image> preview(const Row& row) const override;
  Result<Image> take(Row& row) override;

 private:
  at::ScalarType latents_dtype() const { return family_.traits().wide_latents ? at::kFloat : model_.dtype; }
  Result<PromptSlot> slot(const GenerateRequest& resolved, PromptSide side);
  void plan(LatentRow& row);
  void encode(LatentRow& row);
  void encode(PromptSlot& slot);
  void prepare_conditioning(LatentRow& row);
  void step(std::span<LatentRow* const> rows);
  void finish_step(LatentRow& row, const Answer& answer);
  void advance(LatentRow& row, const at::Tensor& output);
  void decode(LatentRow& row);

  LatentModel model_;
  const Family& family_;
  LatentPreview preview_;
  PromptCache prompts_;
  std::uint64_t rows_begun_ = 0;
  std::atomic<std::uint64_t> steps_skipped_ = 0;
};

Result<PromptSlot> LatentPipeline::slot(const GenerateRequest& resolved, PromptSide side) {
  PromptSlot slot;
  TRY(slot.prompt, family_.tokenize(resolved, side));
  slot.key = slot.prompt.key() + lora_key(resolved.loras);
  slot.prompt.common = slot.prompt.common && resolved.loras.empty();
  slot.embedding = prompts_.find(slot.key);
  return slot;
}

Result<std::unique_ptr<Row>> LatentPipeline::begin(const GenerateRequest& resolved, std::size_t image_index) {
  CHECK_WITH(image_index < resolved.n(), fmt::format("picture {} of {}", image_index, resolved.n()));
  const c10::InferenceMode inference;
  return with_memory_errors([&]() -> Result<std::unique_ptr<Row>> {
    auto row = std::make_unique<LatentRow>();
    row->request = resolved;
    row->sampler = find_sampler(model_, resolved);
    TRY(row->schedule, schedule_of(model_, resolved));
    if (row->steps() == 0) {  // strength 0: the picture as it is, not even through the autoencoder
      row->image = resize_lanczos(to_rgb(*resolved.init_image), *resolved.width, *resolved.height);
      return row;
    }
    row->size = size_of(model_, resolved);
    row->reference_sizes = reference_sizes(model_, resolved);
    row->guidance = family_.guidance(resolved);
    TRY(row->loras, model_.loras.choose(resolved.loras));
    TRY(row->text_loras, model_.loras.choose(in_text_encoders(resolved.loras)));
    TRY(row->positive, slot(resolved, PromptSide::positive));
    if (row->guidance) {
      TRY(row->negative, slot(resolved, PromptSide::negative));
    }
    if (row->guidance) row->guided_end = row->guidance->end(row->schedule);
    row->cache = with_threshold(resolved.cache);
    plan(*row);
    row->generator = samplers::seeded_generator(resolved.seeds[image_index]);
    if (!resolved.variation_seeds.empty())
      row->variation = samplers::Variation{resolved.variation_seeds.at(image_index),
                                           resolved.variation_strength.value_or(0)};
    if (!resolved.init_image && !family_.traits().controls) {
      const std::int64_t channels = model_.autoencoder->format().channels;
      const at::Tensor noise = samplers::draw_noise(
          row->generator, {1, channels, row->size.height, row->size.width}, latents_dtype());
      row->latents =
          family_.pack(first_latents(samplers::varied(noise, row->variation), *row->sampler, row->schedule))
              .to(model_.device);
    }
    return row;
  });
}

// What the engine is told of the row's units.
void LatentPipeline::plan(LatentRow& row) {
  const LatentWork work = work_of(model_, row.request);
  row.encode_flops = work.encode_flops;
  row.step_flops = work.step_flops / row.prompts();
  row.skip_flops = work.skip_flops;
  row.decode_units = work.decode_units;
  // Pictures of one prompt are encoded together, which is once; what is a picture's own is done for itself:
  // an autoencoder gains nothing from a batch but needs memory for all of it.
  // The units of a decode differ in cost, so each has a key.
  row.decode_key = ++rows_begun_ * kDecodeUnitsMax;
  CHECK(row.decode_units.size() <= kDecodeUnitsMax);
  const bool own_pictures = row.request.init_image || !row.request.references.empty();
  row.encode_key = own_pictures ? rows_begun_ : std::hash<std::string>()(prompt_key(row));
  row.step_key =
      ((static_cast<std::uint64_t>(row.size.height) << 16 | static_cast<std::uint64_t>(row.size.width))
           << 16 |
       static_cast<std::uint64_t>(work.tokens_key))
      << 1;
  for (const LatentSize& reference : row.reference_sizes) {
    const std::int64_t sides[] = {static_cast<std::int64_t>(row.step_key), reference.height, reference.width};
    const std::string_view bytes(reinterpret_cast<const char*>(sides), sizeof sides);
    row.step_key = std::hash<std::string_view>()(bytes) << 1;
  }
}

void LatentPipeline::run(std::span<Row* const> rows) {
  CHECK_WITH(!rows.empty(), "run of no rows");
  const c10::InferenceMode inference;
  std::vector<LatentRow*> own;
  for (Row* const row : rows) own.push_back(static_cast<LatentRow*>(row));
  with_memory_errors([&] {
    switch (rows.front()->next().kind) {
      case UnitKind::encode:
        for (LatentRow* const row : own) encode(*row);
        return;
      case UnitKind::step:
        return step(own);
      case UnitKind::decode:
        for (LatentRow* const row : own) decode(*row);
        return;
      case UnitKind::done:
        CHECK_WITH(false, "run of a finished row");
    }
  });
}

void LatentPipeline::encode(LatentRow& row) {
  {
    const nn::LoraRows loras({&row.text_loras});
    encode(row.positive);
    if (row.negative) encode(*row.negative);
  }
  const at::TensorOptions options = at::TensorOptions(model_.device).dtype(model_.dtype);
  at::Generator generator = row.generator.clone();
  SourceLatents encoded;
  const bool controls = family_.traits().controls;
  if (row.request.init_image || controls) {
    const Source source{.image = row.request.init_image,
                        .control = controls ? row.request.references.at(0) : nullptr,
                        .mask = row.request.mask,
                        .width = *row.request.width,
                        .height = *row.request.height,
                        .strength = row.request.strength.value_or(1),
                        .adds_noise = !begins_later(model_, row.request),
                        .variation = row.variation};
    encoded =
        encode_source(source, family_, *model_.autoencoder, *row.sampler, row.schedule, generator, options);
  }
  if (!row.reference_sizes.empty()) {
    const bool by_source = family_.traits().goes_by_source(row.request);
    row.references =
        encode_references(row.request.references, reference_fits(model_, row.request), family_,
                          *model_.autoencoder, options, by_source ? encoded.clean : at::Tensor());
  }
  if (!encoded.start.defined()) return;
  row.source = std::move(encoded);
  row.latents = row.source.start;
  row.generator = std::move(generator);
}

void LatentPipeline::encode(PromptSlot& slot) {
  // Another row may have encoded the same prompt since this one began.
  if (!slot.embedding) slot.embedding = prompts_.find(slot.key);
  if (slot.embedding) return;
  slot.embedding = std::make_shared<const PromptEmbedding>(family_.encode(slot.prompt));
  prompts_.insert(slot.key, slot.embedding, slot.prompt.common);
}

void LatentPipeline::prepare_conditioning(LatentRow& row) {
  const int begin = row.step_done / kConditioningSteps * kConditioningSteps;
  const int count = std::min(kConditioningSteps, row.steps() - begin);
  const auto first = row.schedule.timesteps.begin() + row.schedule.begin + begin;
  const at::Tensor timesteps =
      at::tensor(std::vector<float>(first, first + count), at::kFloat).to(model_.device);
  const RowPrompts prompts{.negative = row.negative ? row.negative->embedding.get() : nullptr,
                           .positive = row.positive.embedding.get()};
  const nn::LoraRows loras({&row.loras});
  row.conditioning = family_.conditioning(timesteps, prompts, row.request);
  row.conditioning_begin = begin;
  row.conditioning_end = begin + count;
}

void LatentPipeline::step(std::span<LatentRow* const> rows) {
  for (LatentRow* const row : rows) {
    if (!row->has_conditioning()) prepare_conditioning(*row);
  }
  const std::vector<Answer> answers = call_network(family_, rows);
  for (std::size_t i = 0; i < rows.size(); ++i) finish_step(*rows[i], answers[i]);
}

// Steps that need not be made follow at once: they take no turn.
void LatentPipeline::finish_step(LatentRow& row, const Answer& answer) {
  StepMemory memory = after_step(row, answer);
  advance(row, answer.guided);
  row.memory = std::move(memory);
  while (auto skipped = skipped_step(row)) {
    advance(row, skipped->guided);
    row.memory.easy = std::move(skipped->after);
    ++row.skipped;
    ++steps_skipped_;
  }
}

void LatentPipeline::advance(LatentRow& row, const at::Tensor& output) {
  // All is computed before anything is changed: memory may run out in between, and then the step is run
  // again.
  at::Generator generator = row.generator.clone();
  at::Tensor clean = row.sampler->clean_estimate(row.schedule, row.call(), output, row.latents);
  samplers::Stepped stepped =
      row.sampler->step(row.schedule, row.call(), output, row.latents, row.history, generator);
  if (row.source.mask.defined()) {
    stepped.latents = restore_kept(row.source, *row.sampler, row.schedule, row.call() + 1, stepped.latents);
  }
  row.generator = std::move(generator);
  row.clean = std::move(clean);
  row.latents = std::move(stepped.latents);
  row.history = std::move(stepped.history);
  ++row.step_done;
}

void LatentPipeline::decode(LatentRow& row) {
  std::size_t stage = 0;
  for (std::size_t unit = 0; unit < row.decode_done; ++unit) stage += row.decode_units[unit].stages;
  const std::size_t end = stage + row.decode_units[row.decode_done].stages;
  const models::LatentDecoder& decoder = model_.decoder(row.request);
  at::Tensor x = row.decoding;
  if (stage == 0) x = decoder.unscaled(family_.unpack(row.latents, row.size).to(model_.dtype));
  for (; stage < end; ++stage) x = decoder.decode_stage(stage, x);
  if (row.decode_done + 1 == row.decode_units.size()) {
    row.image = to_picture(x);
    x.reset();
    row.latents.reset();
    row.history.clear();
  }
  row.decoding = std::move(x);
  ++row.decode_done;
}

Result<bool> LatentPipeline::finish_early(Row& row) {
  const c10::InferenceMode inference;
  auto& own = static_cast<LatentRow&>(row);
  if (own.next().kind == UnitKind::decode || own.image) return true;
  if (!own.clean.defined()) return false;
  return with_memory_errors([&]() -> Result<bool> {
    at::Tensor latents = own.clean.to(model_.dtype);
    if (own.source.mask.defined())
      latents = restore_kept(own.source, *own.sampler, own.schedule, own.schedule.calls(), latents);
    own.latents = std::move(latents);
    own.ended_early = true;
    return true;
  });
}

Result<Image> LatentPipeline::preview(const Row& row) const {
  const c10::InferenceMode inference;
  const auto& own = static_cast<const LatentRow&>(row);
  const at::Tensor& latents = own.clean.defined() ? own.clean : own.latents;
  if (!latents.defined()) return fail(ErrorCode::unavailable, "this picture has not been started");
  return with_memory_errors([&]() -> Result<Image> {
    const at::Tensor unpacked = family_.unpack(latents, own.size);
    if (!model_.tiny_decoder) return preview_.render(unpacked);
    return decoded(*model_.tiny_decoder, unpacked.to(model_.dtype), own.size);
  });
}

Result<Image> LatentPipeline::take(Row& row) {
  auto image = std::exchange(static_cast<LatentRow&>(row).image, std::nullopt);
  if (!image) return fail(ErrorCode::internal, "the picture was taken before it was finished");
  return *std::move(image);
}

}  // namespace

std::unique_ptr<Pipeline> make_latent_pipeline(LatentModel model, std::size_t prompt_cache_bytes) {
  return std::make_unique<LatentPipeline>(std::move(model), prompt_cache_bytes);
}

}  // namespace diffused::pipelines
