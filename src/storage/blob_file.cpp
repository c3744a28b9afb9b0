#include "storage/blob_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>

#include "base/log.h"
#include "storage/sha256.h"

namespace diffused::storage {
namespace {

constexpr std::string_view kUnfinished = ".tmp";
// A sweep later the store may have been found to work.
constexpr std::chrono::seconds kStorageRetryAfter{5};

struct Kind {
  std::string_view content_type;
  std::string_view extension;
};
constexpr std::array kKinds{Kind{"image/png", "png"}, Kind{"image/jpeg", "jpg"}, Kind{"image/webp", "webp"}};

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) return false;
    bytes.remove_prefix(std::max<ssize_t>(written, 0));
  }
  return true;
}

bool read_all(int file, std::string& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(file, bytes.data() + done, bytes.size() - done);
    if (count == 0 || (count < 0 && errno != EINTR)) return false;
    done += std::max<ssize_t>(count, 0);
  }
  return true;
}

// Splits off what stands before the next dot.
std::string_view next_part(std::string_view& rest) {
  const std::size_t dot = rest.find('.');
  const std::string_view part = rest.substr(0, dot);
  rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return part;
}

}  // namespace

tl::unexpected<Error> gone() {
  return fail(ErrorCode::not_found, "there is nothing of that id, or it has expired");
}

tl::unexpected<Error> damaged(const BlobFile& file) {
  log(LogLevel::error, "storage_damaged", {{"id", file.id}});
  return fail(ErrorCode::data_loss, "the stored picture is damaged");
}

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

Error storage_failed() {
  Error error{ErrorCode::unavailable, "the picture store does not work at present", {}, "storage_failed"};
  error.retry_after = kStorageRetryAfter;
  return error;
}

// The system's word goes to the log; what a client may see says no more than what to do.
tl::unexpected<Error> storage_failure(std::string_view doing) {
  const int number = errno;
  log(LogLevel::error, "storage_failed", {{"doing", doing}, {"error", std::strerror(number)}});
  if (number == ENOSPC || number == EDQUOT || number == EFBIG)
    return fail(ErrorCode::unavailable, "the disk for pictures is full", {}, "storage_full");
  return tl::unexpected(storage_failed());
}

std::optional<BlobFile> parse_blob_name(const std::string& name) {
  std::string_view rest = name;
  BlobFile file;
  file.name = name;
  file.id = next_part(rest);
  const std::string_view expires = next_part(rest);
  file.sha256 = next_part(rest);
  const auto [end, error] = std::from_chars(expires.data(), expires.data() + expires.size(), file.expires);
  const auto kind =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return k.extension == rest; });
  if (!is_valid_id(file.id) || error != std::errc() || end != expires.data() + expires.size() ||
      file.sha256.size() != 64 || kind == kKinds.end()) {
    return std::nullopt;
  }
  file.content_type = kind->content_type;
  return file;
}

std::optional<BlobFile> find_blob_file(int folder, const std::string& name) {
  std::optional<BlobFile> file = parse_blob_name(name);
  struct stat status {};
  if (!file || ::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode))
    return std::nullopt;
  file->size = static_cast<std::uint64_t>(status.st_size);
  return file;
}

bool is_unfinished(const std::string& name) {
  return name.ends_with(kUnfinished) && is_valid_id(name.substr(0, name.size() - kUnfinished.size()));
}

Result<BlobFile> describe_blob(std::string_view id, const Blob& blob) {
  if (!is_valid_id(id)) return fail(ErrorCode::invalid_argument, "that is not an id", "id");
  const auto kind = std::find_if(kKinds.begin(), kKinds.end(),
                                 [&](const Kind& k) { return k.content_type == blob.content_type; });
  if (kind == kKinds.end())
    return fail(ErrorCode::invalid_argument, "the store does not keep this content type", "content_type");
  const std::string hash = sha256_hex(*blob.bytes);
  return BlobFile{fmt::format("{}.{}.{}.{}", id, blob.expires, hash, kind->extension),
                  std::string(id),
                  blob.expires,
                  hash,
                  blob.content_type,
                  blob.bytes->size()};
}

Result<void> write_blob_file(int folder, const BlobFile& file, const std::string& bytes) {
  const std::string unfinished = file.id + std::string(kUnfinished);
  const Descriptor out(
      ::openat(folder, unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!out.open()) return storage_failure("open");
  if (!write_all(out.get(), bytes) || ::fsync(out.get()) != 0 ||
      ::renameat(folder, unfinished.c_str(), folder, file.name.c_str()) != 0) {
    auto failure = storage_failure("write");
    ::unlinkat(folder, unfinished.c_str(), 0);
    return failure;
  }
  if (::fsync(folder) == 0) return {};
  auto failure = storage_failure("sync the folder");
  ::unlinkat(folder, file.name.c_str(), 0);
  return failure;
}

Result<Blob> read_blob_file(int folder, const BlobFile& file) {
  const Descriptor in(::openat(folder, file.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!in.open()) {
    if (errno == ENOENT) return gone();
    return errno == ELOOP ? damaged(file) : storage_failure("open");
  }
  struct stat status {};
  if (::fstat(in.get(), &status) != 0) return storage_failure("stat");
  if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != file.size)
    return damaged(file);
  std::string bytes(file.size, '\0');
  if (!read_all(in.get(), bytes) || sha256_hex(bytes) != file.sha256) return damaged(file);
  return Blob{std::make_shared<const std::string>(std::move(bytes)), file.content_type, file.expires};
}

void unlink_blob_file(int folder, const BlobFile& file) {
  if (::unlinkat(folder, file.name.c_str(), 0) != 0 && errno != ENOENT)
    static_cast<void>(storage_failure("unlink"));
}

void each_name(int folder, const std::function<void(const std::string&)>& visit) {
  // A descriptor of its own: they share the place in the folder that has been read up to.
  const int own = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const entries = own < 0 ? nullptr : ::fdopendir(own);
  if (entries == nullptr) {
    if (own >= 0) ::close(own);
    return;
  }
  while (const dirent* const entry = ::readdir(entries)) visit(entry->d_name);
  ::closedir(entries);
}

Result<void> FreeSpace::check() const {
  if (enough_) return {};
  return fail(ErrorCode::unavailable, "the disk for pictures is nearly full", {}, "storage_full");
}

Result<void> FreeSpace::look(int folder) {
  struct statvfs status {};
  // Where it cannot be told, writing will tell.
  enough_ = bytes_min_ == 0 || ::fstatvfs(folder, &status) != 0 ||
            std::uint64_t{status.f_bavail} * status.f_frsize >= bytes_min_;
  return check();
}

}  // namespace diffused::storage
