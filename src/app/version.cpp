#include "app/version.h"

#include <fmt/format.h>

namespace diffused::app {

std::string version_text() { return fmt::format("diffused {}\ncommit {}", kVersion, kCommit); }

}  // namespace diffused::app
