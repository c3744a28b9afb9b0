// Where the tokenizers lie that the tests read.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "support/source_folder.h"
#include "tokenizers/tokenizer.h"

namespace diffused::tokenizers {

inline const std::filesystem::path kData = test::source_folder() / "tests/tokenizers/data";

// The tokenizer in `folder`, of the kind that `name` begins with.
inline Result<std::unique_ptr<Tokenizer>> load_kind(const std::string& name,
                                                    const std::filesystem::path& folder) {
  if (name.starts_with("clip")) return load_clip_tokenizer(folder);
  return name.starts_with("t5") ? load_t5_tokenizer(folder) : load_qwen2_tokenizer(folder);
}

}  // namespace diffused::tokenizers
