#include "base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace diffused {
namespace {

tl::unexpected<Error> refuse(const std::filesystem::path& file, std::string_view what,
                             ErrorCode code = ErrorCode::invalid_argument) {
  return fail(code, fmt::format("{}: {}", file.string(), what), file.string());
}

struct CloseFile {
  int descriptor;
  ~CloseFile() { ::close(descriptor); }
};

}  // namespace

Result<std::string> read_whole_file(const std::filesystem::path& file, std::size_t bytes_max) {
  // Not to wait for the writer of a pipe.
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (const int number = errno; descriptor < 0)
    return refuse(file, fmt::format("cannot be read: {}", std::strerror(number)),
                  number == ENOENT ? ErrorCode::not_found : ErrorCode::invalid_argument);
  const CloseFile closed{descriptor};
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode))
    return refuse(file, S_ISDIR(status.st_mode) ? "is a folder" : "is not a regular file");
  if (static_cast<std::uint64_t>(status.st_size) > bytes_max)
    return refuse(file, fmt::format("is larger than {} bytes", bytes_max), ErrorCode::payload_too_large);
  // It may change while it is read: to the end, but to no more than what was looked at.
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(descriptor, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno != EINTR)
      return refuse(file, fmt::format("cannot be read: {}", std::strerror(errno)));
    if (count == 0) break;
    done += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace diffused
