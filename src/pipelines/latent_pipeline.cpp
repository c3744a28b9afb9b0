// Follows the denoising loops of diffusers 0.42.1's pipelines, which differ in little but what Family tells.
// What differs from them: each picture has its own generator (Diffusers' list of generators), rows at any
// steps share a forward pass, and prompts are cached.
#include "pipelines/latent_pipeline.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/check.h"
#include "image/channels.h"
#include "image/resize.h"
#include "pipelines/latent_preview.h"
#include "pipelines/latent_request.h"
#include "pipelines/latent_row.h"
#include "pipelines/memory_errors.h"
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

class LatentPipeline final : public Pipeline {
 public:
  LatentPipeline(LatentModel model, std::size_t prompt_cache_bytes)
      : model_(std::move(model)),
        family_(*model_.family),
        preview_(*model_.autoencoder, model_.dtype, model_.device),
        prompts_(prompt_cache_bytes) {}

  const PipelineInfo& info() const override { return model_.info; }
  PipelineStats stats() const override { return prompts_.stats(); }
  Result<GenerateRequest> resolve(GenerateRequest request) const override {
    return resolve_request(model_, std::move(request));
  }
  double cost_flops(const GenerateRequest& resolved) const override {
    const LatentWork work = work_of(model_, resolved);
    const samplers::Schedule schedule = schedule_of(model_, resolved).value();
    if (schedule.begin == schedule.calls()) return 0;
    const auto guidance = family_.guidance(resolved);
    const int steps = schedule.calls() - schedule.begin;
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
  struct Part;
  at::Tensor predict(std::span<const Part> parts, const std::vector<std::int64_t>& skip_layers = {}) const;
  std::vector<at::Tensor> predict(std::span<LatentRow* const> rows) const;
  void step(std::span<LatentRow* const> rows);
  void advance(LatentRow& row, const at::Tensor& output);
  void decode(LatentRow& row);

  LatentModel model_;
  const Family& family_;
  LatentPreview preview_;
  PromptCache prompts_;
  std::uint64_t rows_begun_ = 0;
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
    plan(*row);
    row->generator = samplers::seeded_generator(resolved.seeds[image_index]);
    if (!resolved.variation_seeds.empty())
      row->variation = samplers::Variation{resolved.variation_seeds.at(image_index),
                                           resolved.variation_strength.value_or(0)};
    if (!resolved.init_image) {
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
  const nn::LoraRows none({});  // it may run inside a unit that has some
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
  if (!row.reference_sizes.empty()) {
    row.references = encode_references(row.request.references, reference_fits(model_, row.request), family_,
                                       *model_.autoencoder, options);
  }
  if (!row.request.init_image) return;
  at::Generator generator = row.generator.clone();
  const Source source{.image = row.request.init_image,
                      .mask = row.request.mask,
                      .width = *row.request.width,
                      .height = *row.request.height,
                      .strength = *row.request.strength,
                      .variation = row.variation};
  row.source =
      encode_source(source, family_, *model_.autoencoder, *row.sampler, row.schedule, generator, options);
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
  const int count = std::min(kConditioningSteps, row.steps() - row.step_done);
  const auto first = row.schedule.timesteps.begin() + row.call();
  const at::Tensor timesteps =
      at::tensor(std::vector<float>(first, first + count), at::kFloat).to(model_.device);
  const RowPrompts prompts{.negative = row.negative ? row.negative->embedding.get() : nullptr,
                           .positive = row.positive.embedding.get()};
  const nn::LoraRows loras({&row.loras});
  row.conditioning = family_.conditioning(timesteps, prompts, row.request);
  row.conditioning_begin = row.step_done;
}

// One prompt of one row in a call of the network.
struct LatentPipeline::Part {
  LatentRow* row;
  bool negative;

  const PromptEmbedding& prompt() const { return *(negative ? *row->negative : row->positive).embedding; }
  // [1, width]: the negative prompt's steps are before the positive one's.
  at::Tensor conditioning() const {
    const std::int64_t steps = row->conditioning.size(0) / row->prompts();
    const std::int64_t at_step = row->step_done - row->conditioning_begin;
    return row->conditioning.narrow(0, at_step + (row->guidance && !negative ? steps : 0), 1);
  }
};

// The network's outputs of parts whose prompts have equally many tokens, in their order; without these
// blocks.
at::Tensor LatentPipeline::predict(std::span<const Part> parts,
                                   const std::vector<std::int64_t>& skip_layers) const {
  std::vector<at::Tensor> latents, conditioning, fills, references;
  std::vector<const nn::LoraSet*> sets;
  NetworkCall call;
  for (const Part& part : parts) {
    const LatentRow& row = *part.row;
    latents.push_back(row.sampler->network_input(row.schedule, row.call(), row.latents));
    conditioning.push_back(part.conditioning());
    call.prompts.push_back(&part.prompt());
    if (row.source.fill.defined()) fills.push_back(row.source.fill);
    if (row.references.defined()) references.push_back(row.references);
    sets.push_back(&row.loras);
  }
  call.size = parts.front().row->size;
  call.latents = at::cat(latents);            // [parts, …]
  call.conditioning = at::cat(conditioning);  // [parts, width]
  if (!fills.empty()) call.fill = at::cat(fills);
  if (!references.empty()) call.references = at::cat(references);
  call.skip_layers = skip_layers;
  call.reference_sizes = parts.front().row->reference_sizes;
  const nn::LoraRows loras(std::move(sets));
  return family_.predict(call);
}

// With guidance all rows' negative halves, then all positive ones; the network is called once for each number
// of tokens that prompts have. Returns an output for each part.
std::vector<at::Tensor> LatentPipeline::predict(std::span<LatentRow* const> rows) const {
  std::vector<Part> parts;
  for (const bool negative : {true, false}) {
    if (negative && !rows.front()->guided()) continue;
    for (LatentRow* const row : rows) parts.push_back({row, negative});
  }
  std::map<std::int64_t, std::vector<std::size_t>> places;  // by number of tokens
  for (std::size_t i = 0; i < parts.size(); ++i) places[parts[i].prompt().tokens()].push_back(i);
  std::vector<at::Tensor> outputs(parts.size());
  for (const auto& [tokens, group] : places) {
    std::vector<Part> alike;
    for (const std::size_t place : group) alike.push_back(parts[place]);
    const auto results = predict(alike).split(1);  // of [1, …]
    for (std::size_t i = 0; i < group.size(); ++i) outputs[group[i]] = results[i];
  }
  return outputs;
}

void LatentPipeline::step(std::span<LatentRow* const> rows) {
  for (LatentRow* const row : rows) {
    if (row->step_done % kConditioningSteps == 0) prepare_conditioning(*row);
  }
  const std::vector<at::Tensor> outputs = predict(rows);
  const bool guided = rows.front()->guided();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    LatentRow& row = *rows[i];
    if (!guided) {
      advance(row, outputs[i]);
      continue;
    }
    const at::Tensor& positive = outputs[rows.size() + i];
    at::Tensor poorer;
    if (row.skips()) {
      const Part alone{&row, /*negative=*/false};
      poorer = predict({&alone, 1}, row.guidance->skip_layers);
    }
    advance(row, row.guidance->apply(outputs[i], positive, poorer));
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
  at::Tensor x = row.decoding;
  if (stage == 0) x = model_.autoencoder->unscaled(family_.unpack(row.latents, row.size).to(model_.dtype));
  for (; stage < end; ++stage) x = model_.autoencoder->decode_stage(stage, x);
  if (row.decode_done + 1 == row.decode_units.size()) {
    // Clamped in the decoder's dtype, as Diffusers does.
    row.image = to_image((x * 0.5 + 0.5).clamp(0, 1));
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
  return with_memory_errors(
      [&]() -> Result<Image> { return preview_.render(family_.unpack(latents, own.size)); });
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
