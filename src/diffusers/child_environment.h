// What of our environment a worker gets.
#pragma once

#include <string>
#include <vector>

namespace diffused::diffusers {

// NAME=VALUE of what finds libraries, devices and languages, and how many threads to compute with (0: as it
// likes). No keys, tokens, nor addresses of stores.
std::vector<std::string> child_environment(int threads);

}  // namespace diffused::diffusers
