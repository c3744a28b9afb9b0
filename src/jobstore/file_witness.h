// Notices that a file which is held open is not the one of its name any more, or has lost its end.
#pragma once

#include <sys/types.h>

#include <filesystem>

namespace diffused::jobstore {

// One thread.
class FileWitness {
 public:
  explicit FileWitness(std::filesystem::path file) : file_(std::move(file)) {}

  // Remembers the file as it is now; to be called whenever its owner has written to it. A file that is not
  // there yet is remembered when it is.
  void remember();
  // What has happened to it since: "removed", "replaced" or, unless its owner may have made it shorter, "cut
  // short"; null: nothing.
  const char* complaint(bool may_be_shorter = false) const;

 private:
  const std::filesystem::path file_;
  dev_t device_ = 0;
  ino_t inode_ = 0;  // 0: there was none
  off_t size_ = 0;
};

}  // namespace diffused::jobstore
