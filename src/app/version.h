// Which program this is.
#pragma once

#include <string>

namespace diffused::app {

extern const char* const kVersion;  // "0.1.0"
extern const char* const kCommit;   // of the source: its hash, with -modified when files differ; or unknown

// "diffused 0.1.0" and a line for the commit.
std::string version_text();

}  // namespace diffused::app
