// A file's bytes by mmap, read-only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "weights/file_stamp.h"

namespace diffused::weights {

// Holds the descriptor and the mapping until destroyed. Const methods from any thread.
// A file that is shortened in place by someone else while its pages are in use still ends the process with
// SIGBUS (no mmap can prevent that); replacing it by rename, as downloaders do, is harmless: the old file
// stays mapped.
class MappedFile {
 public:
  // Errors: not_found, data_loss (cannot be read, not a regular file, empty), with the path as field.
  static Result<std::shared_ptr<const MappedFile>> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  // Of the file when it was opened.
  const FileStamp& stamp() const { return stamp_; }
  // Whether the file on disk still has the length that was mapped.
  bool unchanged() const;
  // Reads bytes [begin, end) ahead, or gives the memory of whole pages within them back: they can be read
  // again.
  void will_need(std::uint64_t begin, std::uint64_t end) const;
  void release(std::uint64_t begin, std::uint64_t end) const;

 private:
  MappedFile(std::filesystem::path path, int fd, const char* data, std::size_t size)
      : path_(std::move(path)), fd_(fd), data_(data), size_(size) {}

  std::filesystem::path path_;
  int fd_;
  const char* data_;
  std::size_t size_;
  FileStamp stamp_;
};

}  // namespace diffused::weights
