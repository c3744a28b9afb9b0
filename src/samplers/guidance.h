// Classifier-free guidance: Ho & Salimans 2022, "Classifier-Free Diffusion Guidance".
#pragma once

#include <ATen/core/Tensor.h>

namespace diffused::samplers {

// unconditional + scale · (conditional − unconditional), each operation rounded to the tensors' dtype as in
// Diffusers. Equal shapes and dtypes. Any thread.
at::Tensor guide(const at::Tensor& unconditional, const at::Tensor& conditional, double scale);

// conditional + scale · (conditional − unconditional): the same with scales that begin at 0. Equal shapes and
// dtypes. Any thread.
at::Tensor guide_further(const at::Tensor& unconditional, const at::Tensor& conditional, double scale);

// `guided`, each of whose tokens, the last dimension, is brought to the norm of the same token of
// `conditional`. Equal shapes and dtypes. Any thread.
at::Tensor with_norm_of(const at::Tensor& guided, const at::Tensor& conditional);

// `guided`, made so much smaller that its norm is at most `times` that of `conditional`; as it is for 0.
// Equal shapes [1, …] and dtypes. Any thread.
at::Tensor with_norm_below(const at::Tensor& guided, const at::Tensor& conditional, double times);

// The share `rescale` (0 to 1) of `guided` with the standard deviation of `conditional`, the rest as it is; a
// row at a time. Section 3.4 of Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are
// Flawed". Equal shapes [B, …] and dtypes. Any thread.
at::Tensor rescaled(const at::Tensor& guided, const at::Tensor& conditional, double rescale);

}  // namespace diffused::samplers
