// The text encoders that families share, each with its tokenizer.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/clip_text.h"
#include "models/t5.h"
#include "pipelines/family.h"
#include "pipelines/latent_loader.h"
#include "tokenizers/tokenizer.h"

namespace diffused::pipelines {

// A prompt's embedding by one CLIP encoder: the chunks' tokens one after another, and the first one's pooled
// text.
struct ClipEmbedding {
  at::Tensor tokens;  // [1, chunks · L, hidden_size]
  at::Tensor pooled;  // as ClipTextOutput's
};

// Which of the encoder's states are a prompt's tokens.
enum class ClipState {
  last,         // the last layer's, after the final LayerNorm
  penultimate,  // the last but one's, as it is
};

// Immutable once loaded. embed: device thread only; the others from any thread.
class ClipEncoder {
 public:
  // Loads text_encoder and tokenizer, with `number` (such as "_2") after both names. `class_name` is
  // CLIPTextModel or, with a projection of the pooled text, CLIPTextModelWithProjection. Errors and
  // exceptions as load_pipeline; data_loss when the tokenizer's texts are longer than the encoder's.
  static Result<ClipEncoder> load(LatentLoader& loader, const std::string& number,
                                  std::string_view class_name);

  // `chunks` times `length` ids; chunks only of weighted prompts (see is_weighted), padded with empty ones
  // and cut off. Error: data_loss when the encoder has no such id.
  Result<EncoderText> tokenize(std::string_view text, bool weighted, int length, int chunks) const;
  // How many chunks a weighted prompt needs.
  int chunks(std::string_view text, int length) const;

  // `clip_skip` layers fewer. A token's weight multiplies its state, after which the chunk's mean is made
  // what it was.
  ClipEmbedding embed(const EncoderText& text, int chunks, ClipState state, int clip_skip) const;

  const models::ClipTextConfig& config() const { return network_->config(); }
  int length() const { return length_; }  // of a prompt in tokens, as the folder's tokenizer asks for
  int clip_skip_max() const { return static_cast<int>(config().num_hidden_layers) - 1; }

 private:
  ClipEncoder(std::shared_ptr<const models::ClipText> network, const LatentLoader& loader)
      : network_(std::move(network)),
        device_(loader.device()),
        several_vectors_(loader.tokens_of_several_vectors()) {}

  std::shared_ptr<const models::ClipText> network_;
  at::Device device_;
  bool several_vectors_;
  std::unique_ptr<tokenizers::Tokenizer> tokenizer_;
  std::string tokenizer_name_;
  int length_ = 0;
  at::Tensor learned_;  // [n, hidden_size]: of the words that files brought along; undefined: none
};

// Immutable once loaded. encode: device thread only; the others from any thread.
class T5TextEncoder {
 public:
  // As ClipEncoder::load, of a T5EncoderModel.
  static Result<T5TextEncoder> load(LatentLoader& loader, const std::string& number);

  // Exactly `length` ids. Error: as ClipEncoder's.
  Result<EncoderText> tokenize(std::string_view text, bool weighted, int length) const;
  at::Tensor encode(const EncoderText& text) const;  // [1, L, d_model]; weights as ClipEncoder's

  const models::T5Config& config() const { return network_->config(); }

 private:
  T5TextEncoder(std::shared_ptr<const models::T5Encoder> network, const LatentLoader& loader)
      : network_(std::move(network)),
        device_(loader.device()),
        several_vectors_(loader.tokens_of_several_vectors()) {}

  std::shared_ptr<const models::T5Encoder> network_;
  at::Device device_;
  bool several_vectors_;
  std::unique_ptr<tokenizers::Tokenizer> tokenizer_;
  std::string tokenizer_name_;
};

// A text that a CLIP encoder gets.
struct ClipTextUse {
  const ClipEncoder& encoder;
  const std::string& text;
};

// How many chunks all of these need, so that they become equally long; 1 unless the request's prompts are
// weighted. Error: invalid_argument for more than the server takes.
Result<int> count_chunks(const GenerateRequest& request, int length, const std::vector<ClipTextUse>& texts);

}  // namespace diffused::pipelines
