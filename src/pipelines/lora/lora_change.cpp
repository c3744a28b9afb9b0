// The formulas are those of the adapters' papers: LoRA (2106.09685), DoRA (2402.09353), FedPara, which LoHa
// is (2108.06098), and Kronecker products (LoKr); kohya's and LyCORIS' scripts store them as read here.
#include "pipelines/lora/lora_change.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace diffused::pipelines {
namespace {

using Part = LoraPart;  // of this file alone
using TensorShape = std::vector<std::int64_t>;
using weights::Checkpoint;

std::int64_t product_of(const TensorShape& shape, std::size_t from) {
  return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(from), shape.end(), std::int64_t{1},
                         std::multiplies<>());
}

// The sizes without those of 1 at the end: a convolution of one pixel is a matrix.
TensorShape trimmed(TensorShape shape) {
  while (shape.size() > 2 && shape.back() == 1) shape.pop_back();
  return shape;
}

// The sizes of a part's tensor; empty without it.
TensorShape shape_of(const Checkpoint& file, const LoraTensors& tensors, Part part) {
  const auto name = tensors.find(part);
  if (name == tensors.end()) return {};
  return *file.shape(name->second);
}

// A change as a matrix; no columns for one that cannot be.
struct Sides {
  std::int64_t rows = 0, columns = 0;
};

// Of w_a w_b, or of these with a core `t`.
Sides sides_of_pair(const TensorShape& a, const TensorShape& b, const TensorShape& core) {
  if (a.size() != 2 || b.size() < 2) return {};
  if (core.empty()) return a[1] == b[0] ? Sides{a[0], product_of(b, 1)} : Sides{};
  const bool fits = core.size() == 4 && core[0] == a[0] && core[1] == b[0] && b.size() == 2;
  return fits ? Sides{a[1], b[1] * core[2] * core[3]} : Sides{};
}

Sides low_rank_sides(const Checkpoint& file, const LoraTensors& tensors) {
  const TensorShape down = trimmed(shape_of(file, tensors, Part::down)),
                    up = trimmed(shape_of(file, tensors, Part::up)), mid = shape_of(file, tensors, Part::mid);
  if (down.size() < 2 || up.size() != 2 || down[0] < 1) return {};
  if (mid.empty()) return up[1] == down[0] ? Sides{up[0], product_of(down, 1)} : Sides{};
  const bool fits = mid.size() == 4 && mid[0] == up[1] && mid[1] == down[0] && down.size() == 2;
  return fits ? Sides{up[0], down[1] * mid[2] * mid[3]} : Sides{};
}

Sides hadamard_sides(const Checkpoint& file, const LoraTensors& tensors) {
  const auto shape = [&](Part part) { return shape_of(file, tensors, part); };
  const Sides one = sides_of_pair(shape(Part::hada_w1_a), shape(Part::hada_w1_b), shape(Part::hada_t1)),
              two = sides_of_pair(shape(Part::hada_w2_a), shape(Part::hada_w2_b), shape(Part::hada_t2));
  return one.rows == two.rows && one.columns == two.columns ? one : Sides{};
}

Sides kronecker_sides(const Checkpoint& file, const LoraTensors& tensors) {
  const auto factor = [&](Part whole, Part a, Part b, const TensorShape& core) {
    const TensorShape stored = shape_of(file, tensors, whole);
    if (stored.size() >= 2) return Sides{stored[0], product_of(stored, 1)};
    return sides_of_pair(shape_of(file, tensors, a), shape_of(file, tensors, b), core);
  };
  const Sides one = factor(Part::lokr_w1, Part::lokr_w1_a, Part::lokr_w1_b, {});
  const Sides two =
      factor(Part::lokr_w2, Part::lokr_w2_a, Part::lokr_w2_b, shape_of(file, tensors, Part::lokr_t2));
  return {one.rows * two.rows, one.columns * two.columns};
}

bool has_any(const LoraTensors& tensors, Part first, Part last) {
  const auto part = tensors.lower_bound(first);
  return part != tensors.end() && part->first <= last;
}
bool is_hadamard(const LoraTensors& tensors) { return has_any(tensors, Part::hada_w1_a, Part::hada_t2); }
bool is_kronecker(const LoraTensors& tensors) { return has_any(tensors, Part::lokr_w1, Part::lokr_t2); }
bool is_low_rank(const LoraTensors& tensors) { return has_any(tensors, Part::down, Part::mid); }

// The whole change of a weight or a norm, and what it adds to a bias alone.
Sides plain_sides(const Checkpoint& file, const LoraTensors& tensors, const TensorShape& weight) {
  for (const Part part : {Part::diff, Part::norm}) {
    const TensorShape shape = shape_of(file, tensors, part);
    if (!shape.empty()) return {shape[0], product_of(shape, 1)};
  }
  for (const Part part : {Part::diff_bias, Part::norm_bias}) {
    const TensorShape shape = shape_of(file, tensors, part);
    if (shape.size() == 1) return {shape[0], product_of(weight, 1)};
  }
  return {};
}

// The file's outputs that belong to the layer.
at::Tensor share_of(const LoraPlace& place, std::int64_t rows, const at::Tensor& outputs) {
  at::Tensor share = outputs.narrow(0, place.first_row, rows);
  if (!place.halves_swapped) return share;
  const auto halves = share.chunk(2);
  return at::cat({halves[1], halves[0]});
}

// One layer being read; the tensors are float32 on the CPU until the end.
class ChangeReading {
 public:
  ChangeReading(Checkpoint& file, const LoraChange& change) : file_(file), change_(change) {}

  bool has(Part part) const { return change_.tensors.contains(part); }
  at::Tensor tensor(Part part) const {
    const std::string& name = change_.tensors.at(part);
    return file_.tensor(name, *file_.shape(name), at::kFloat, at::kCPU);
  }

  nn::LayerChange low_rank() const;
  nn::LayerChange hadamard() const;
  nn::LayerChange kronecker() const;
  void add_bias(nn::LayerChange& change) const;
  void add_magnitudes(nn::LayerChange& change, const std::function<at::Tensor()>& weight_of) const;

 private:
  std::int64_t rows() const { return change_.weight.front(); }
  at::Tensor share(const at::Tensor& outputs) const { return share_of(change_.place, rows(), outputs); }
  // [n, columns] in the shape of as many of the layer's outputs.
  at::Tensor as_weight(const at::Tensor& matrix) const {
    TensorShape shape = change_.weight;
    shape.front() = matrix.size(0);
    return matrix.reshape(shape);
  }
  // w_a w_b as two matrices; a core belongs to the second.
  std::pair<at::Tensor, at::Tensor> pair(Part a, Part b, Part core) const;
  void decompose_inputs(nn::LayerChange& change, const at::Tensor& weight) const;

  Checkpoint& file_;
  const LoraChange& change_;
};

// What the change adds to the weight, but for the scale.
at::Tensor dense_change(const nn::LayerChange& change) {
  at::Tensor matrix = change.down;
  if (change.up.defined())
    matrix = change.up.matmul(change.down.flatten(1)).view([&] {
      TensorShape shape = change.down.sizes().vec();
      shape.front() = change.up.size(0);
      return shape;
    }());
  if (!change.left.defined()) return matrix;
  TensorShape left = change.left.sizes().vec();
  left.resize(static_cast<std::size_t>(matrix.dim()), 1);
  return at::kron(change.left.view(left), matrix);
}

std::pair<at::Tensor, at::Tensor> ChangeReading::pair(Part a, Part b, Part core) const {
  if (!has(core)) return {tensor(a), tensor(b).flatten(1)};
  return {tensor(a).t(), at::einsum("ijkl,jr->irkl", {tensor(core), tensor(b)}).flatten(1)};
}

nn::LayerChange ChangeReading::low_rank() const {
  nn::LayerChange change{.down = tensor(Part::down), .up = tensor(Part::up).flatten(1)};
  if (has(Part::mid)) {
    const at::Tensor down = change.down.flatten(1);
    change.down = at::einsum("ijkl,jr->irkl", {tensor(Part::mid), down});  // [r, in, k, k]
  }
  const std::int64_t missing = product_of(change_.weight, 1) - change.down.flatten(1).size(1);
  if (missing > 0) change.down = at::constant_pad_nd(change.down.flatten(1), {0, missing});
  change.up = share(change.up).contiguous();
  return change;
}

nn::LayerChange ChangeReading::hadamard() const {
  const auto [up_1, down_1] = pair(Part::hada_w1_a, Part::hada_w1_b, Part::hada_t1);
  const auto [up_2, down_2] = pair(Part::hada_w2_a, Part::hada_w2_b, Part::hada_t2);
  const at::Tensor a = share(up_1), b = share(up_2);
  const std::int64_t rank = a.size(1) * b.size(1), columns = down_1.size(1);
  if (rank * (rows() + columns) >= rows() * columns)
    return {.down = as_weight(a.matmul(down_1) * b.matmul(down_2)), .up = {}};
  // The product, element by element, of two matrices of low rank is one of the product of their ranks.
  const at::Tensor down = (down_1.unsqueeze(1) * down_2.unsqueeze(0)).flatten(0, 1);  // [r1 r2, columns]
  return {.down = as_weight(down), .up = (a.unsqueeze(2) * b.unsqueeze(1)).flatten(1)};
}

nn::LayerChange ChangeReading::kronecker() const {
  nn::LayerChange change;
  change.left = has(Part::lokr_w1) ? tensor(Part::lokr_w1).flatten(1)
                                   : tensor(Part::lokr_w1_a).matmul(tensor(Part::lokr_w1_b));
  if (has(Part::lokr_w2)) {
    change.down = tensor(Part::lokr_w2).flatten(1);
  } else {
    std::tie(change.up, change.down) = pair(Part::lokr_w2_a, Part::lokr_w2_b, Part::lokr_t2);
  }
  TensorShape inner = change_.weight;
  inner[0] = change.down.size(0);
  inner[1] = change_.weight[1] / change.left.size(1);
  change.down = change.down.reshape(inner);
  const std::int64_t out = (change.up.defined() ? change.up : change.down).size(0);
  const LoraPlace& place = change_.place;
  if (!place.halves_swapped && place.first_row % out == 0 && rows() % out == 0) {
    change.left = change.left.narrow(0, place.first_row / out, rows() / out);
    return change;
  }
  return {.down = share(dense_change(change)), .up = {}};
}

void ChangeReading::add_bias(nn::LayerChange& change) const {
  if (has(Part::up_bias)) change.bias = share(tensor(Part::up_bias));
  // Of those the scale means nothing.
  for (const Part part : {Part::diff_bias, Part::norm_bias}) {
    if (has(part) && change.scale != 0) change.bias = share(tensor(part)) / change.scale;
  }
}

// Of a magnitude for each input: the whole change, as it is at its own strength.
void ChangeReading::decompose_inputs(nn::LayerChange& change, const at::Tensor& weight) const {
  const at::Tensor changed = weight + dense_change(change).view_as(weight) * change.scale;
  TensorShape spread(static_cast<std::size_t>(weight.dim()), 1);
  spread[1] = -1;
  const at::Tensor length = changed.transpose(0, 1).flatten(1).norm(2, {1}).view(spread);
  const at::Tensor magnitude = tensor(Part::dora_scale).flatten().view(spread);
  change = {.down = changed * (magnitude / length) - weight, .up = {}};
}

void ChangeReading::add_magnitudes(nn::LayerChange& change,
                                   const std::function<at::Tensor()>& weight_of) const {
  if (!has(Part::magnitude) && !has(Part::dora_scale)) return;
  const at::Tensor weight = weight_of();
  const Part part = has(Part::magnitude) ? Part::magnitude : Part::dora_scale;
  const at::Tensor magnitude = tensor(part).flatten();
  const TensorShape stored = shape_of(file_, change_.tensors, part);
  if (part == Part::dora_scale && stored.front() == 1 && magnitude.numel() == weight.size(1))
    return decompose_inputs(change, weight);
  change.weight_is_strength = part == Part::magnitude;
  change.magnitude = share(magnitude);
  if (change.left.defined())
    change = {.down = dense_change(change),
              .up = {},
              .scale = change.scale,
              .magnitude = change.magnitude,
              .weight_is_strength = change.weight_is_strength};
  const at::Tensor w = weight.flatten(1), down = change.down.flatten(1), up = change.up;
  const at::Tensor mixed = up.defined() ? (w.matmul(down.t()) * up).sum(1) : (w * down).sum(1);
  const at::Tensor own = up.defined() ? (up.matmul(down.matmul(down.t())) * up).sum(1) : down.square().sum(1);
  change.norms = at::stack({w.square().sum(1), 2 * mixed, own});
}

}  // namespace

std::int64_t rank_of(const Checkpoint& file, const LoraTensors& tensors) {
  for (const Part part : {Part::down, Part::hada_w1_b, Part::lokr_w2_b, Part::lokr_w1_b}) {
    const TensorShape shape = shape_of(file, tensors, part);
    if (!shape.empty()) return shape.front();
  }
  return 0;
}

Result<std::int64_t> outputs_of(const Checkpoint& file, const LoraChange& change, bool pads) {
  const LoraTensors& tensors = change.tensors;
  const auto missing = [&](const char* what) {
    return fail(ErrorCode::data_loss, fmt::format("layer '{}' has {}", change.name, what));
  };
  Sides sides;
  if (is_low_rank(tensors)) {
    if (!tensors.contains(Part::down) || !tensors.contains(Part::up))
      return missing("but one of its two matrices");
    sides = low_rank_sides(file, tensors);
  } else if (is_hadamard(tensors)) {
    for (const Part part : {Part::hada_w1_a, Part::hada_w1_b, Part::hada_w2_a, Part::hada_w2_b}) {
      if (!tensors.contains(part)) return missing("not all four matrices of a LoHa");
    }
    sides = hadamard_sides(file, tensors);
  } else if (is_kronecker(tensors)) {
    const auto whole = [&](Part one, Part a, Part b) {
      return tensors.contains(one) || (tensors.contains(a) && tensors.contains(b));
    };
    if (!whole(Part::lokr_w1, Part::lokr_w1_a, Part::lokr_w1_b) ||
        !whole(Part::lokr_w2, Part::lokr_w2_a, Part::lokr_w2_b))
      return missing("but one of the two factors of a LoKr");
    sides = kronecker_sides(file, tensors);
  } else {
    sides = plain_sides(file, tensors, change.weight);
  }
  const std::int64_t columns = product_of(change.weight, 1);
  const bool padded = pads && sides.columns > 0 && sides.columns < columns && change.weight.size() == 2;
  if ((sides.columns == columns || padded) && change.place.first_row + change.weight.front() <= sides.rows)
    return sides.rows;
  const auto list = [&](Part part) {
    return fmt::format("[{}]", fmt::join(shape_of(file, tensors, part), ", "));
  };
  const std::string found = is_low_rank(tensors)
                                ? fmt::format("matrices of {} and {}", list(Part::down), list(Part::up))
                                : fmt::format("a change of {} x {}", sides.rows, sides.columns);
  return fail(ErrorCode::unsupported, fmt::format("layer '{}' has {}, for a weight of [{}] in this model",
                                                  change.name, found, fmt::join(change.weight, ", ")));
}

nn::LayerChange read_change(Checkpoint& file, const LoraChange& change, LoraDevice place,
                            const std::function<at::Tensor()>& weight_of) {
  const ChangeReading reading(file, change);
  nn::LayerChange read;
  if (is_low_rank(change.tensors)) {
    read = reading.low_rank();
  } else if (is_hadamard(change.tensors)) {
    read = reading.hadamard();
  } else if (is_kronecker(change.tensors)) {
    read = reading.kronecker();
  } else {
    for (const Part part : {Part::diff, Part::norm}) {
      if (reading.has(part))
        read.down = share_of(change.place, change.weight.front(), reading.tensor(part)).contiguous();
    }
  }
  read.scale = change.scale;
  reading.add_bias(read);
  reading.add_magnitudes(read, weight_of);
  for (at::Tensor* const tensor : {&read.down, &read.up, &read.left, &read.bias}) {
    if (tensor->defined()) *tensor = tensor->to(place.device, place.dtype).contiguous();
  }
  for (at::Tensor* const tensor : {&read.magnitude, &read.norms}) {
    if (tensor->defined()) *tensor = tensor->to(place.device);
  }
  return read;
}

}  // namespace diffused::pipelines
