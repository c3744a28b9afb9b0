// START HERE for the room `tokenizers`: a prompt's text becomes the token ids that a text encoder reads,
// those of `transformers` 5.23 for the same folder (except around characters newer than Unicode 15.0, which
// ICU 72 lacks). Not here: embeddings. Weights of words and
// prompts in chunks, where asked for: weighted_prompt.h.
//
// How a text travels (the files in that order): unicode.h makes it valid UTF-8, added_tokens.h cuts out
// special tokens, clip.cpp, t5.cpp or qwen2.cpp normalises and splits what is left, byte_pair.h or unigram.h
// turns each word into ids, framed_tokenizer.h adds begin, end and padding. folder.h, special_tokens.h read
// the files. chat_template.h puts a prompt into the words that a chat model expects.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizers/added_tokens.h"

namespace diffused::tokenizers {

// A text as ids.
struct Encoding {
  // Exactly `length_max` ids: begin token (CLIP), text, end token (CLIP, T5), padding.
  std::vector<int> ids;
  // How many ids the whole text needs, begin and end included: more than ids.size() when text was cut off.
  int token_count = 0;
};

// What a tokenizer puts round a text.
struct Frame {
  std::optional<int> begin_id = std::nullopt;
  std::optional<int> end_id = std::nullopt;
  int padding_id = 0;
  std::optional<int> length_default;
};

// Immutable once loaded; const methods from any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Turns `text` into `length_max` ids (at least 2): what does not fit is cut off at the right, an end token
  // is kept. Never fails: bytes that are not UTF-8 count as U+FFFD. Time grows as length times log of length.
  virtual Encoding encode(std::string_view text, int length_max) const = 0;

  // The `length_max` the folder asks for: model_max_length of tokenizer_config.json. CLIP's default is 77.
  virtual std::optional<int> length_default() const = 0;

  // For putting texts together from pieces: a piece's own ids, however many, and what stands round the whole.
  virtual std::vector<int> text_ids(std::string_view text) const = 0;
  // The text in which each added token `<x>` that `<x>_1`, `<x>_2` … belong to stands before all of them:
  // what was taught as several vectors is told by its first.
  virtual std::string with_all_vectors(std::string_view text) const = 0;
  // How many ids, this one and those behind it, stand for one added token that begins with it: 1 for most.
  virtual int ids_from(int id) const = 0;
  virtual const Frame& frame() const = 0;
};

// Load a tokenizer folder of Diffusers (`tokenizer`, `tokenizer_2`, `tokenizer_3`): tokenizer.json when it is
// there, else vocab.json and merges.txt (CLIP, Qwen2), or spiece.model (T5). Errors, each naming the file:
// not_found (no such files), data_loss (damaged), unsupported (another kind of tokenizer).
// `learned`: further added tokens, with ids that the folder's own do not reach (else data_loss).
Result<std::unique_ptr<Tokenizer>> load_clip_tokenizer(const std::filesystem::path& folder,
                                                       const std::vector<AddedToken>& learned = {});
Result<std::unique_ptr<Tokenizer>> load_t5_tokenizer(const std::filesystem::path& folder);
Result<std::unique_ptr<Tokenizer>> load_qwen2_tokenizer(const std::filesystem::path& folder);

}  // namespace diffused::tokenizers
