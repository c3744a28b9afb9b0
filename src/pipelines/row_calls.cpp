#include "pipelines/row_calls.h"

#include <ATen/ops/cat.h>

#include <map>
#include <utility>

#include "nn/lora.h"

namespace diffused::pipelines {
namespace {

// One prompt of one row in a call of the network.
struct RowPart {
  const LatentRow* row;
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
at::Tensor predict(const Family& family, std::span<const RowPart> parts,
                   const std::vector<std::int64_t>& skip_layers = {}) {
  std::vector<at::Tensor> latents, conditioning, fills, references;
  std::vector<const nn::LoraSet*> sets;
  NetworkCall call;
  for (const RowPart& part : parts) {
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
  return family.predict(call);
}

// With guidance all rows' negative halves, then all positive ones; the network is called once for each number
// of tokens that prompts have. Returns an output for each part.
std::vector<at::Tensor> predict(const Family& family, std::span<LatentRow* const> rows) {
  std::vector<RowPart> parts;
  for (const bool negative : {true, false}) {
    if (negative && !rows.front()->guided()) continue;
    for (const LatentRow* const row : rows) parts.push_back({row, negative});
  }
  std::map<std::int64_t, std::vector<std::size_t>> places;  // by number of tokens
  for (std::size_t i = 0; i < parts.size(); ++i) places[parts[i].prompt().tokens()].push_back(i);
  std::vector<at::Tensor> outputs(parts.size());
  for (const auto& [tokens, group] : places) {
    std::vector<RowPart> alike;
    for (const std::size_t place : group) alike.push_back(parts[place]);
    const auto results = predict(family, alike).split(1);  // of [1, …]
    for (std::size_t i = 0; i < group.size(); ++i) outputs[group[i]] = results[i];
  }
  return outputs;
}

}  // namespace

std::vector<Answer> call_network(const Family& family, std::span<LatentRow* const> rows) {
  const std::vector<at::Tensor> outputs = predict(family, rows);
  const bool guided = rows.front()->guided();
  std::vector<Answer> answers;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const LatentRow& row = *rows[i];
    if (!guided) {
      answers.push_back({outputs[i], outputs[i]});
      continue;
    }
    const at::Tensor& positive = outputs[rows.size() + i];
    at::Tensor poorer;
    if (row.skips()) {
      const RowPart alone{&row, /*negative=*/false};
      poorer = predict(family, {&alone, 1}, row.guidance->skip_layers);
    }
    answers.push_back({positive, row.guidance->apply(outputs[i], positive, poorer)});
  }
  return answers;
}

}  // namespace diffused::pipelines
