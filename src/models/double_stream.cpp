// Source: huggingface/diffusers v0.42.1, src/diffusers/models/transformers/transformer_{flux,flux2,qwenimage}
// .py. Differs: the linears of the modulations run before the first block.
#include "models/double_stream.h"

#include <ATen/ATen.h>

#include <vector>

#include "nn/attention.h"
#include "nn/modulation.h"

namespace diffused::models {

nn::Rotation tokens_of(const nn::Rotation& rotation, std::int64_t first, std::int64_t count) {
  return {.cos = rotation.cos.narrow(0, first, count), .sin = rotation.sin.narrow(0, first, count)};
}

DoubleStreamAttention::DoubleStreamAttention(const nn::QkvForm& form, const weights::Scope& scope)
    : qkv_(scope, form, nn::kQkvNames),
      added_qkv_(scope, form, nn::kAddedQkvNames),
      to_out_(scope / "to_out.0", form.size(), form.size(), form.bias, form.format),
      to_add_out_(scope / "to_add_out", form.size(), form.size(), form.bias, form.format) {}

std::pair<at::Tensor, at::Tensor> DoubleStreamAttention::operator()(
    const at::Tensor& x, const at::Tensor& c, const DoubleStreamRotation& rotation) const {
  const nn::Heads image = qkv_(x, rotation.image);
  const nn::Heads text = rotation.text ? added_qkv_(c, *rotation.text) : added_qkv_(c);
  const at::Tensor q = at::cat({text.q, image.q}, 2);  // [B, H, T + N, head_dim]
  const at::Tensor k = at::cat({text.k, image.k}, 2);
  const at::Tensor v = at::cat({text.v, image.v}, 2);
  const at::Tensor y = nn::merge_heads(nn::attention(q, k, v));  // [B, T + N, D]
  return {y.narrow(1, c.size(1), x.size(1)), y.narrow(1, 0, c.size(1))};
}

DoubleStreamBlock::DoubleStreamBlock(const nn::QkvForm& form, const DoubleStreamNames& names,
                                     const weights::Scope& scope)
    : eps_(*form.rms_norm_eps),
      image_modulation_(scope / names.modulations[0], form.size(), kChunks * form.size()),
      text_modulation_(scope / names.modulations[1], form.size(), kChunks * form.size()),
      attn_(form, scope / "attn"),
      image_perceptron_(scope / names.perceptrons[0], form.size(), form.format),
      text_perceptron_(scope / names.perceptrons[1], form.size(), form.format) {}

void DoubleStreamBlock::operator()(at::Tensor& x, at::Tensor& c, const DoubleStreamModulation& modulation,
                                   const DoubleStreamRotation& rotation) const {
  const auto m = modulation.image.chunk(kChunks, 1), mc = modulation.text.chunk(kChunks, 1);  // of [B, D]
  std::vector<at::Tensor> behind;
  if (modulation.behind.defined()) behind = modulation.behind.chunk(kChunks, 1);
  // f(tokens of x, theirs of y, the modulation) of those at the front and of those behind, one after another.
  const auto in_parts = [&](const at::Tensor& y, const auto& f) {
    if (behind.empty()) return f(x, y, m);
    const std::int64_t front = modulation.first_behind, rest = x.size(1) - front;
    return at::cat({f(x.narrow(1, 0, front), y.narrow(1, 0, front), m),
                    f(x.narrow(1, front, rest), y.narrow(1, front, rest), behind)},
                   1);
  };
  const auto normal = [&](std::size_t first) {
    return in_parts(x, [&](const at::Tensor& tokens, const at::Tensor&, const std::vector<at::Tensor>& by) {
      return nn::modulated_layer_norm(tokens, by[first], by[first + 1], eps_);
    });
  };
  const auto [attended, attended_context] =
      attn_(normal(0), nn::modulated_layer_norm(c, mc[0], mc[1], eps_), rotation);
  x = in_parts(attended, [&](const at::Tensor& sum, const at::Tensor& y, const std::vector<at::Tensor>& by) {
    return attn_.to_out().add_to(sum, y, by[2]);
  });
  x = in_parts(normal(3), [&](const at::Tensor& sum, const at::Tensor& y, const std::vector<at::Tensor>& by) {
    return image_perceptron_.add_to(sum, y, by[5]);
  });
  c = attn_.to_add_out().add_to(c, attended_context, mc[2]);
  c = text_perceptron_.add_to(c, nn::modulated_layer_norm(c, mc[3], mc[4], eps_), mc[5]);
}

}  // namespace diffused::models
