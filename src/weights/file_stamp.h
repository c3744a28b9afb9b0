// Which file it is and when it was last written.
#pragma once

#include <sys/stat.h>

#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>

namespace diffused::weights {

// A file as it stood when it was looked at: equal stamps mean equal bytes, as every writer changes the time.
struct FileStamp {
  std::uint64_t device = 0, inode = 0, size = 0;
  std::int64_t written_seconds = 0, written_nanoseconds = 0;

  auto operator<=>(const FileStamp&) const = default;
};

FileStamp stamp_of(const struct stat& status);
// Links are followed; nothing where there is no file.
std::optional<FileStamp> stamp_of(const std::filesystem::path& path);

}  // namespace diffused::weights
