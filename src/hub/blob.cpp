#include "hub/blob.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "hub/digest.h"

namespace diffused::hub {
namespace {

namespace fs = std::filesystem;

tl::unexpected<Error> disk_error(const fs::path& path) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: {}", path.string(), std::generic_category().message(errno)), path.string());
}

// HASH.incomplete, open, with the digest of what it holds.
class Part {
 public:
  static Result<Part> open(const fs::path& path, const BlobRequest& request) {
    Part part(path, request);
    part.fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (part.fd_ < 0) return disk_error(path);
    TRY_VOID(part.read_again());
    return part;
  }
  Part(Part&& other) noexcept
      : path_(std::move(other.path_)),
        request_(other.request_),
        fd_(std::exchange(other.fd_, -1)),
        size_(other.size_),
        digest_(std::move(other.digest_)) {}
  ~Part() {
    if (fd_ >= 0) ::close(fd_);
  }

  std::uint64_t size() const { return size_; }

  Result<void> cut_to(std::uint64_t size) {
    if (size == size_) return {};
    if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) return disk_error(path_);
    return read_again();
  }

  Result<void> append(std::string_view bytes) {
    if (bytes.size() > request_->size - size_)
      return fail(ErrorCode::data_loss, fmt::format("{}: more is sent than the {} bytes that the hub lists",
                                                    request_->name, request_->size));
    digest_->update(bytes);
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return disk_error(path_);
      size_ += static_cast<std::uint64_t>(written);
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
  }

  // Whether what is there is the file.
  bool is_right() { return size_ == request_->size && digest_->hex() == request_->hash; }

  Result<void> keep_as(const fs::path& target) {
    if (::fsync(fd_) != 0 || ::rename(path_.c_str(), target.c_str()) != 0) return disk_error(target);
    return {};
  }
  void remove() { ::unlink(path_.c_str()); }

 private:
  Part(fs::path path, const BlobRequest& request) : path_(std::move(path)), request_(&request) {}

  Result<void> read_again() {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return disk_error(path_);
    const auto held = static_cast<std::uint64_t>(status.st_size);
    if (held > request_->size && ::ftruncate(fd_, 0) != 0) return disk_error(path_);
    const std::uint64_t end = held > request_->size ? 0 : held;
    digest_.emplace(request_->hash, request_->size);
    std::vector<char> buffer(1 << 20);
    for (size_ = 0; size_ < end;) {
      const ssize_t count = ::pread(fd_, buffer.data(), buffer.size(), static_cast<off_t>(size_));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return disk_error(path_);
      digest_->update({buffer.data(), static_cast<std::size_t>(count)});
      size_ += static_cast<std::uint64_t>(count);
    }
    return {};
  }

  fs::path path_;
  const BlobRequest* request_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::optional<Digest> digest_;
};

Result<void> receive(Transfer& transfer, const BlobRequest& request, Part& part,
                     const std::function<void(std::uint64_t)>& progress) {
  const Receiver receiver{.start = [&](const ReplyStart& start) { return part.cut_to(start.begin); },
                          .data = [&](std::string_view bytes) -> Result<void> {
                            TRY_VOID(part.append(bytes));
                            progress(part.size());
                            return {};
                          }};
  progress(part.size());
  TRY_VOID(transfer.bytes(request.url, part.size(), receiver));
  if (part.size() < request.size)
    return fail(ErrorCode::unavailable,
                fmt::format("{}: {} of {} bytes came", request.name, part.size(), request.size));
  return {};
}

}  // namespace

Result<void> fetch_blob(Transfer& transfer, const fs::path& blobs, const BlobRequest& request,
                        const std::function<void(std::uint64_t)>& progress) {
  const fs::path target = blobs / request.hash;
  std::error_code ec;
  if (fs::is_regular_file(target, ec) && fs::file_size(target, ec) == request.size && !ec) {
    progress(request.size);
    return {};
  }
  for (;;) {
    TRY(Part part, Part::open(blobs / (request.hash + ".incomplete"), request));
    const bool resumed = part.size() > 0;
    if (part.size() < request.size || request.size == 0) {
      const Result<void> received = receive(transfer, request, part, progress);
      if (!received && received.error().code == ErrorCode::data_loss) part.remove();
      TRY_VOID(received);
    }
    if (part.is_right()) {
      progress(request.size);
      return part.keep_as(target);
    }
    part.remove();
    // What an earlier call left behind may be at fault: once more from the start.
    if (!resumed)
      return fail(ErrorCode::data_loss,
                  fmt::format("{}: damaged on its way: {} differs from the hub's", request.name,
                              request.hash.size() == 40 ? "SHA-1" : "SHA-256"));
  }
}

}  // namespace diffused::hub
