// Where the tokenizers lie that the tests read.
#pragma once

#include <filesystem>

#include "support/source_folder.h"

namespace diffused::tokenizers {

inline const std::filesystem::path kData = test::source_folder() / "tests/tokenizers/data";

}  // namespace diffused::tokenizers
