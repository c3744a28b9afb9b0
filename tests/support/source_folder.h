// Where the repository lies, from which tests read data.
#pragma once

#include <filesystem>

namespace diffused::test {

std::filesystem::path source_folder();

}  // namespace diffused::test
