#include "jobstore/file_witness.h"

#include <sys/stat.h>

namespace diffused::jobstore {

void FileWitness::remember() {
  struct stat now {};
  if (::stat(file_.c_str(), &now) != 0) return;
  device_ = now.st_dev;
  inode_ = now.st_ino;
  size_ = now.st_size;
}

const char* FileWitness::complaint(bool may_be_shorter) const {
  struct stat now {};
  if (inode_ == 0) return nullptr;
  if (::stat(file_.c_str(), &now) != 0) return "removed";
  if (now.st_dev != device_ || now.st_ino != inode_) return "replaced";
  return now.st_size < size_ && !may_be_shorter ? "cut short" : nullptr;
}

}  // namespace diffused::jobstore
