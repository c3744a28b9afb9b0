// The settings that the hub's own tools read from the environment.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/variables.h"

namespace diffused::hub {

struct Environment {
  std::filesystem::path cache;  // HF_HUB_CACHE, else hub/ in HF_HOME, else in ~/.cache/huggingface
  std::string endpoint;         // HF_ENDPOINT, without a slash at its end
  std::string token;            // HF_TOKEN, else the file HF_TOKEN_PATH, else token in HF_HOME; may be empty
  bool offline = false;         // HF_HUB_OFFLINE
  std::chrono::seconds stall_timeout = std::chrono::seconds(30);  // HF_HUB_DOWNLOAD_TIMEOUT: without a byte
};

// Where the cache is; never fails.
std::filesystem::path cache_folder(const Variables& variables);

// Error: invalid_argument for an endpoint that is no web address, a token of odd characters, a timeout that
// is no count of seconds.
Result<Environment> read_environment(const Variables& variables);

}  // namespace diffused::hub
