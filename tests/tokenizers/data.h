// Where the tokenizers lie that the tests read.
#pragma once

#include <filesystem>

namespace diffused::tokenizers {

inline const std::filesystem::path kData =
    std::filesystem::path(DIFFUSED_SOURCE_DIR) / "tests/tokenizers/data";

}  // namespace diffused::tokenizers
