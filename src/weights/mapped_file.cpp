#include "weights/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace diffused::weights {
namespace {

void advise(const char* data, std::uint64_t begin, std::uint64_t end, int advice) {
  if (begin < end) ::madvise(const_cast<char*>(data) + begin, end - begin, advice);
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::filesystem::path& path) {
  const auto failed = [&path](std::string_view what) {
    const int error = errno;
    return fail(error == ENOENT ? ErrorCode::not_found : ErrorCode::data_loss,
                fmt::format("{}: {}: {}", path.string(), what, std::strerror(error)), path.string());
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failed("cannot be opened");
  // From here on the object closes what is open.
  std::shared_ptr<MappedFile> file(new MappedFile(path, fd, nullptr, 0));
  struct stat status {};
  if (::fstat(fd, &status) != 0) return failed("cannot be examined");
  if (!S_ISREG(status.st_mode) || status.st_size == 0) {
    return fail(ErrorCode::data_loss, fmt::format("{}: empty, or not a file", path.string()), path.string());
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  void* const data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) return failed("cannot be mapped");
  file->data_ = static_cast<const char*>(data);
  file->size_ = size;
  file->stamp_ = stamp_of(status);
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<char*>(data_), size_);
  ::close(fd_);
}

bool MappedFile::unchanged() const {
  struct stat status {};
  return ::fstat(fd_, &status) == 0 && static_cast<std::size_t>(status.st_size) == size_;
}

void MappedFile::will_need(std::uint64_t begin, std::uint64_t end) const {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  advise(data_, begin / page * page, end, MADV_WILLNEED);
}

void MappedFile::release(std::uint64_t begin, std::uint64_t end) const {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  advise(data_, (begin + page - 1) / page * page, end / page * page, MADV_DONTNEED);
}

}  // namespace diffused::weights
