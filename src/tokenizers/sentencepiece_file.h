// Reads spiece.model: the three fields of SentencePiece's ModelProto that a tokenizer needs. Read by hand
// because the library does not give out the charsmap, and because its bundled protobuf must not meet
// libtorch's in one program.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizers/unigram.h"

namespace diffused::tokenizers {

struct SentencePieceModel {
  std::vector<Piece> pieces;                // in order of id
  std::vector<std::string> special_pieces;  // the control and user-defined ones among them
  std::string precompiled_charsmap;         // for Charsmap::parse; may be empty
};

// Parses the content of a file (protobuf wire format, message sentencepiece.ModelProto).
// data_loss: cut off or not of that form. unsupported: not a unigram model.
Result<SentencePieceModel> parse_sentencepiece(std::string_view content);

}  // namespace diffused::tokenizers
