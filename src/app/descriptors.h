// How many files and connections this process may have open.
#pragma once

#include "http/limits.h"

namespace diffused::app {

// Raises the limit of descriptors as far as the system lets this process, and bounds the connections of
// `limits` so that they leave descriptors for files, and an address so that it leaves some for others. Says
// in the log what came of it. Call once, when what stays open is open.
void fit_to_descriptors(http::Limits& limits);

}  // namespace diffused::app
