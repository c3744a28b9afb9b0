#include "nn/lora.h"

#include <ATen/ATen.h>

#include "base/check.h"

namespace diffused::nn {
namespace {

thread_local const std::vector<const LoraSet*>* active_rows = nullptr;

// Calls f(LowRank, weight) for each change of `layer` in the set.
template <typename F>
void for_each_change(const LoraSet& set, const std::string& layer, const F& f) {
  for (const WeightedLora& chosen : set) {
    const auto [begin, end] = chosen.lora->equal_range(layer);
    for (auto change = begin; change != end; ++change) f(change->second, chosen.weight);
  }
}

// Calls f(row of x, row of y, LowRank, factor) for each change of each row, where y's row is the part that
// the changed layer fills along dimension `outputs`. Row by row, so that a row's bits do not depend on the
// others.
template <typename F>
void for_each_row_change(const LoraLayers& layers, const at::Tensor& x, const at::Tensor& y,
                         std::int64_t outputs, const F& f) {
  const auto& sets = *active_rows;
  const auto rows = static_cast<std::int64_t>(sets.size());
  CHECK(rows == 1 || rows == x.size(0));
  const std::int64_t out = y.size(outputs) / static_cast<std::int64_t>(layers.names.size());
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t count = rows == 1 ? x.size(0) : 1;
    std::int64_t first = 0;
    for (const std::string& name : layers.names) {
      for_each_change(*sets[static_cast<std::size_t>(row)], name, [&](const LowRank& change, double weight) {
        at::Tensor part = y.narrow(0, row, count).narrow(outputs, first, out);
        f(x.narrow(0, row, count), part, change, weight * change.scale);
      });
      first += out;
    }
  }
}

}  // namespace

LoraRows::LoraRows(std::vector<const LoraSet*> rows) : rows_(std::move(rows)), outer_(active_rows) {
  bool any = false;
  for (const LoraSet* const set : rows_) any = any || !set->empty();
  active_rows = any ? &rows_ : nullptr;
}

LoraRows::~LoraRows() { active_rows = outer_; }

bool lora_changes(const LoraLayers& layers) {
  if (active_rows == nullptr) return false;
  bool any = false;
  for (const LoraSet* const set : *active_rows) {
    for (const std::string& name : layers.names)
      for_each_change(*set, name, [&](const LowRank&, double) { any = true; });
  }
  return any;
}

at::Tensor each_lora_row(std::int64_t rows, const std::function<at::Tensor(std::int64_t row)>& f) {
  const auto& sets = *active_rows;
  CHECK(sets.size() == 1 || static_cast<std::int64_t>(sets.size()) == rows);
  std::vector<at::Tensor> results;
  for (std::int64_t row = 0; row < rows; ++row) {
    const LoraRows own({sets[sets.size() == 1 ? 0 : static_cast<std::size_t>(row)]});
    results.push_back(f(row));
  }
  return at::cat(results);
}

at::Tensor add_lora(const LoraLayers& layers, const at::Tensor& x, at::Tensor y) {
  if (!lora_changes(layers)) return y;
  for_each_row_change(layers, x, y, y.dim() - 1,
                      [&](const at::Tensor& row, at::Tensor& part, const LowRank& change, double factor) {
                        const at::Tensor down =
                            change.down.flatten(1).narrow(1, layers.first_input, row.size(-1));
                        part.add_(at::linear(at::linear(row, down), change.up), factor);
                      });
  return y;
}

at::Tensor add_lora(const LoraLayers& layers, const at::Tensor& x, at::Tensor y, std::int64_t stride,
                    std::int64_t padding) {
  if (!lora_changes(layers)) return y;
  for_each_row_change(layers, x, y, /*outputs=*/1,
                      [&](const at::Tensor& row, at::Tensor& part, const LowRank& change, double factor) {
                        at::Tensor down = change.down;
                        if (down.dim() == 2) down = down.unsqueeze(-1).unsqueeze(-1);  // [r, in, 1, 1]
                        const at::Tensor up = change.up.unsqueeze(-1).unsqueeze(-1);   // [out, r, 1, 1]
                        part.add_(at::conv2d(at::conv2d(row, down, {}, stride, padding), up), factor);
                      });
  return y;
}

}  // namespace diffused::nn
