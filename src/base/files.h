// Files that people and other programs write for this one: keys, certificates, pictures named by a command.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace diffused {

// The bytes of a regular file of at most `bytes_max`. Never waits for another program: folders, pipes and
// devices are refused. Errors: not_found, invalid_argument, payload_too_large; the message begins with the
// file's name.
Result<std::string> read_whole_file(const std::filesystem::path& file, std::size_t bytes_max);

}  // namespace diffused
