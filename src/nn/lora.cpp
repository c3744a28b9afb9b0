#include "nn/lora.h"

#include <ATen/ATen.h>

#include "base/check.h"

namespace diffused::nn {
namespace {

thread_local const std::vector<const LoraSet*>* active_rows = nullptr;

// Calls f(LayerChange, weight) for each change of `layer` in the set.
template <typename F>
void for_each_change(const LoraSet& set, const std::string& layer, const F& f) {
  for (const WeightedLora& chosen : set) {
    const auto change = chosen.lora->find(layer);
    if (change != chosen.lora->end()) f(change->second, chosen.weight);
  }
}

// What a change of one row is applied to.
struct ChangedPart {
  at::Tensor x;     // the row
  at::Tensor y;     // the part of the row's result that the changed layer fills; is changed in place
  at::Tensor bias;  // of the layer; undefined without
};

// Calls f(part, change, weight) for each change of each row, where the layers' parts of y lie side by side
// along dimension `outputs`. Row by row, so that a row's bits do not depend on the others.
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
      for_each_change(
          *sets[static_cast<std::size_t>(row)], name, [&](const LayerChange& change, double weight) {
            f(ChangedPart{.x = x.narrow(0, row, count),
                          .y = y.narrow(0, row, count).narrow(outputs, first, out),
                          .bias = layers.bias.defined() ? layers.bias.narrow(0, first, out) : at::Tensor()},
              change, weight);
          });
      first += out;
    }
  }
}

// One for each output, as results have them: at dimension `outputs` of `dims`.
at::Tensor along_outputs(const at::Tensor& values, std::int64_t outputs, std::int64_t dims) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(dims), 1);
  shape[static_cast<std::size_t>(outputs)] = -1;
  return values.view(shape);
}

// y plus the change, of which `delta` is what the layer's input gives for scale 1 and without magnitudes.
void add_change(const ChangedPart& part, const LayerChange& change, double weight, std::int64_t outputs,
                const at::Tensor& delta) {
  at::Tensor y = part.y;
  const auto spread = [&](const at::Tensor& values) { return along_outputs(values, outputs, y.dim()); };
  if (!change.magnitude.defined()) {
    y.add_(delta, weight * change.scale);
    return;
  }
  const double strength = change.weight_is_strength ? weight * change.scale : change.scale;
  const at::Tensor& n = change.norms;
  const at::Tensor length = (n[0] + n[1] * strength + n[2] * (strength * strength)).clamp_min(0).sqrt();
  const at::Tensor gain = spread(change.magnitude.to(at::kFloat) / length).to(y.scalar_type());
  const at::Tensor plain = part.bias.defined() ? y - spread(part.bias) : y;
  y.add_((gain - 1) * plain + gain * delta * strength, change.weight_is_strength ? 1.0 : weight);
}

void add_bias(const ChangedPart& part, const LayerChange& change, double weight, std::int64_t outputs) {
  if (!change.bias.defined()) return;
  at::Tensor y = part.y;
  y.add_(along_outputs(change.bias, outputs, y.dim()), weight * change.scale);
}

// x: [.., in] of which the change is told inputs from `first` on.
at::Tensor linear_delta(const LayerChange& change, const at::Tensor& x, std::int64_t first) {
  const auto matrices = [&change](const at::Tensor& input, const at::Tensor& down) {
    const at::Tensor low = at::linear(input, down);
    return change.up.defined() ? at::linear(low, change.up) : low;
  };
  const at::Tensor down = change.down.flatten(1);
  if (!change.left.defined()) return matrices(x, down.narrow(1, first, x.size(-1)));
  const std::int64_t inner = down.size(1), whole = change.left.size(1) * inner;
  const at::Tensor all = at::constant_pad_nd(x, {first, whole - first - x.size(-1)});
  const at::Tensor inside = matrices(all.unflatten(-1, {-1, inner}), down);  // [.., in / in', out']
  return at::matmul(change.left, inside).flatten(-2);                        // [.., out]
}

at::Tensor conv_delta(const LayerChange& change, const at::Tensor& x, std::int64_t stride,
                      std::int64_t padding) {
  const auto as_kernel = [](const at::Tensor& matrix) {
    return matrix.dim() == 2 ? matrix.unsqueeze(-1).unsqueeze(-1) : matrix;  // [out, in, 1, 1]
  };
  const auto convolved = [&](const at::Tensor& input) {
    const at::Tensor low = at::conv2d(input, as_kernel(change.down), {}, stride, padding);
    return change.up.defined() ? at::conv2d(low, as_kernel(change.up)) : low;
  };
  if (!change.left.defined()) return convolved(x);
  const std::int64_t inner = change.down.size(1), outer = change.left.size(1);
  const at::Tensor inside =
      convolved(x.contiguous().view({-1, inner, x.size(2), x.size(3)}));  // [B * in / in', out', H', W']
  const at::Tensor rows = inside.contiguous().view({x.size(0), outer, -1});
  return at::matmul(change.left, rows).view({x.size(0), -1, inside.size(2), inside.size(3)});
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
      for_each_change(*set, name, [&](const LayerChange&, double) { any = true; });
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
  const std::int64_t outputs = y.dim() - 1;
  for_each_row_change(
      layers, x, y, outputs, [&](const ChangedPart& part, const LayerChange& change, double weight) {
        if (change.down.defined())
          add_change(part, change, weight, outputs, linear_delta(change, part.x, layers.first_input));
        // Of several layers that share a result, the first has the bias.
        if (layers.first_input == 0) add_bias(part, change, weight, outputs);
      });
  return y;
}

at::Tensor add_lora(const LoraLayers& layers, const at::Tensor& x, at::Tensor y, std::int64_t stride,
                    std::int64_t padding) {
  if (!lora_changes(layers)) return y;
  constexpr std::int64_t kOutputs = 1;
  for_each_row_change(
      layers, x, y, kOutputs, [&](const ChangedPart& part, const LayerChange& change, double weight) {
        if (change.down.defined())
          add_change(part, change, weight, kOutputs, conv_delta(change, part.x, stride, padding));
        add_bias(part, change, weight, kOutputs);
      });
  return y;
}

NormWeights changed_norm(const LoraLayers& layers, NormWeights plain) {
  CHECK(active_rows != nullptr && active_rows->size() == 1);
  for_each_change(*active_rows->front(), layers.names.front(), [&](const LayerChange& change, double weight) {
    const double factor = weight * change.scale;
    if (change.down.defined()) plain.weight = plain.weight + change.down * factor;
    if (change.bias.defined()) plain.bias = plain.bias + change.bias * factor;
  });
  return plain;
}

}  // namespace diffused::nn
