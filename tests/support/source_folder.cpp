#include "support/source_folder.h"

namespace diffused::test {

std::filesystem::path source_folder() { return DIFFUSED_SOURCE_DIR; }

}  // namespace diffused::test
