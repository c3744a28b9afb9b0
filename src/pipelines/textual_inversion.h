// Textual inversion (arXiv 2208.01618): words of a prompt that stand for vectors which a file brings along,
// in place of those of a text encoder's vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace diffused::pipelines {

struct LearnedWord {
  std::string name;
  at::Tensor vectors;  // [n, width] float32 on the CPU: what stands for it, in this order
};

// By the component that reads them, such as "text_encoder"; each list sorted by name.
using LearnedWords = std::map<std::string, std::vector<LearnedWord>>;

// Reads the .safetensors files below `folder` for a model whose CLIP text encoders have these widths, by
// component. A file's words are its own name without folder and ending, as A1111's users write it, and the
// token that Diffusers' form names, unless that is a plain word. Forms: one tensor [width] or [n, width] of
// whatever name (Diffusers'; "emb_params", A1111's), which is for the first encoder of that width; or
// `clip_l` and `clip_g`, for the first and the second one of Stable Diffusion XL. A file that is damaged, of
// another form or of another model is left out, and so is the second of two that give one word; the log says
// why. Error: not_found without the folder.
Result<LearnedWords> read_learned_words(const std::filesystem::path& folder,
                                        const std::map<std::string, std::int64_t>& widths);

}  // namespace diffused::pipelines
