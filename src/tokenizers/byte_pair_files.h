// The vocabulary and the merges of a byte-pair tokenizer's folder: of tokenizer.json when it is there, else
// of vocab.json and merges.txt.
#pragma once

#include <filesystem>
#include <vector>

#include "base/result.h"
#include "tokenizers/byte_pair.h"
#include "tokenizers/folder.h"

namespace diffused::tokenizers {

struct BytePairFiles {
  Vocabulary vocabulary = {};
  std::vector<BytePair::Merge> merges = {};
  std::filesystem::path merges_file;  // where the merges stand, for errors
};

// Errors, each naming the file: not_found (neither kind of file), data_loss (damaged), unsupported (a model
// of another type).
Result<BytePairFiles> read_byte_pair_files(const Folder& folder);

}  // namespace diffused::tokenizers
