#include "storage/store_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"

namespace diffused::storage {
namespace {

constexpr const char* kTrialName = "trial.tmp";  // is_unfinished(): what is left of it is cleared away

bool same_folder(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

Result<void> write_trial(int folder) {
  ::unlinkat(folder, kTrialName, 0);
  const Descriptor out(
      ::openat(folder, kTrialName, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!out.open()) return storage_failure("open");
  Result<void> done;
  if (::write(out.get(), "x", 1) != 1 || ::fsync(out.get()) != 0) done = storage_failure("write");
  ::unlinkat(folder, kTrialName, 0);
  return done;
}

}  // namespace

StoreFolder::StoreFolder(std::filesystem::path path, FolderOwner owner, std::uint64_t free_bytes_min,
                         const Clock& clock)
    : path_(std::move(path)),
      owner_(owner),
      free_space_(free_bytes_min),
      outage_(std::chrono::milliseconds(0), clock) {}

Result<void> StoreFolder::open() {
  std::error_code ignored;
  std::filesystem::create_directories(path_, ignored);
  TRY(handle_, open_path());
  static_cast<void>(free_space_.look(handle_->get()));
  return {};
}

Result<StoreFolder::Handle> StoreFolder::open_path() const {
  auto handle = std::make_shared<const Descriptor>(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!handle->open() || ::faccessat(handle->get(), ".", W_OK | X_OK, 0) != 0)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: the folder for pictures cannot be made, opened or written", path_.string()));
  if (owner_ == FolderOwner::one_server && ::flock(handle->get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::unavailable,
                fmt::format("{}: another server keeps its pictures there", path_.string()));
  return handle;
}

StoreFolder::Handle StoreFolder::get() const {
  const std::lock_guard lock(mutex_);
  return handle_;
}

bool StoreFolder::leads_here() const {
  struct stat named {
  }, held{};
  return ::stat(path_.c_str(), &named) == 0 && ::fstat(handle_->get(), &held) == 0 &&
         same_folder(named, held);
}

Result<bool> StoreFolder::look() {
  const std::lock_guard lock(mutex_);
  bool moved = false;
  if (!leads_here()) {
    std::error_code ignored;
    if (owner_ == FolderOwner::one_server) std::filesystem::create_directories(path_, ignored);
    auto found = open_path();
    if (!found) {
      log(LogLevel::error, "storage_failed", {{"doing", "look"}, {"error", found.error().message}});
      outage_.end(storage_failed());
      return tl::unexpected(storage_failed());
    }
    handle_ = *std::move(found);
    outage_.end(std::nullopt);
    moved = true;
    log(LogLevel::warning, "storage_folder_replaced", {{"folder", path_.string()}});
  }
  TRY_VOID(free_space_.look(handle_->get()));
  return moved;
}

Result<void> StoreFolder::check() const {
  TRY_VOID(outage_.check());
  return free_space_.check();
}

void StoreFolder::try_to_write() {
  const auto done = write_trial(get()->get());
  // A full disk is the other check's affair, and passes with the next try.
  const bool failing = !done && done.error().reason != "storage_full";
  outage_.end(failing ? std::optional(done.error()) : std::nullopt);
}

}  // namespace diffused::storage
