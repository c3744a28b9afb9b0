#include "hub/pull.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <thread>
#include <utility>

#include "base/files.h"
#include "hub/blob.h"
#include "hub/cache.h"
#include "hub/listing.h"
#include "hub/transfer.h"

namespace diffused::hub {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNoRepository = "RepoNotFound";  // the hub's word
constexpr const char* kIndex = "model_index.json";
constexpr std::size_t kListingBytesMax = 64u << 20;
constexpr std::uint64_t kIndexBytesMax = 1u << 20;
constexpr int kIdleAttempts = 5;  // in a row that bring nothing

tl::unexpected<Error> folder_error(const fs::path& path, const std::error_code& ec) {
  return fail(ErrorCode::invalid_argument, fmt::format("{}: {}", path.string(), ec.message()), path.string());
}

Result<void> make_folders(const fs::path& path) {
  std::error_code ec;
  fs::create_directories(path, ec);
  if (ec) return folder_error(path, ec);
  return {};
}

// Held while a repository is being pulled; goes with the process.
class Lock {
 public:
  static Result<Lock> take(const fs::path& file, const std::string& id) {
    TRY_VOID(make_folders(file.parent_path()));
    Lock lock;
    lock.fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock.fd_ < 0) return folder_error(file, {errno, std::generic_category()});
    if (::flock(lock.fd_, LOCK_EX | LOCK_NB) != 0)
      return fail(ErrorCode::conflict, fmt::format("{}: another process is pulling it", id));
    return lock;
  }
  Lock(Lock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Lock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  Lock() = default;
  int fd_ = -1;
};

// What a person can do about a hub that says no.
Error explained(Error error, const Repo& repo, const Environment& environment) {
  const std::string page = environment.endpoint + "/" + repo.id();
  const std::string advice = environment.token.empty() ? "set HF_TOKEN" : "the token given does not open it";
  if (error.reason == "GatedRepo")
    error.message = fmt::format("{}: gated: accept its terms at {}; {}", repo.id(), page, advice);
  else if (error.reason == "RevisionNotFound")
    error.message = fmt::format("{}: has no revision '{}'", repo.id(), repo.revision);
  else if (error.code == ErrorCode::unauthorized || error.code == ErrorCode::forbidden)
    error.message = fmt::format("{}: private, gated or not there: {} ({})", repo.id(), advice, error.message);
  else if (error.reason == kNoRepository)
    error.message = fmt::format("{}: no such repository or revision '{}' at {}", repo.id(), repo.revision,
                                environment.endpoint);
  else
    error.message = fmt::format("{}: {}", repo.id(), error.message);
  return error;
}

class Puller {
 public:
  Puller(const Repo& repo, const Environment& environment, const PullOptions& options)
      : repo_(repo),
        environment_(environment),
        options_(options),
        transfer_(environment),
        folder_(repo_folder(environment.cache, repo)) {}

  Result<Pulled> run();

 private:
  Result<Listing> list();
  Result<boost::json::object> read_index(const Listing& listing);
  Result<void> complete(HubFile& file);
  Result<void> check_space(const std::vector<HubFile>& files) const;
  Result<void> fetch(const HubFile& file);
  Result<void> link(const HubFile& file) const;
  Result<void> write_ref() const;
  template <typename Attempt>
  auto persistently(Attempt attempt) -> decltype(attempt());
  void tell() const {
    if (options_.progress) options_.progress(progress_);
  }
  std::string url_of(const HubFile& file) const {
    return fmt::format("{}/{}/resolve/{}/{}", environment_.endpoint, repo_.id(), commit_, file.path);
  }
  fs::path snapshot() const { return folder_ / "snapshots" / commit_; }

  const Repo& repo_;
  const Environment& environment_;
  const PullOptions& options_;
  Transfer transfer_;
  const fs::path folder_;
  std::string commit_;
  PullProgress progress_;
};

// Tries again what may go better another time. A try that brought bytes starts the count anew.
template <typename Attempt>
auto Puller::persistently(Attempt attempt) -> decltype(attempt()) {
  std::uint64_t bytes_before = progress_.bytes_done;
  auto wait = options_.retry_wait;
  for (int idle = 1;; ++idle) {
    auto result = attempt();
    if (result || result.error().code != ErrorCode::unavailable) return result;
    if (progress_.bytes_done > bytes_before) {
      idle = 1;
      wait = options_.retry_wait;
    }
    bytes_before = std::max(bytes_before, progress_.bytes_done);
    if (idle == kIdleAttempts) return result;
    std::this_thread::sleep_for(result.error().retry_after.value_or(wait));
    wait *= 2;
  }
}

Result<Listing> Puller::list() {
  std::string revision = repo_.revision;
  for (std::size_t slash = 0; (slash = revision.find('/', slash)) != revision.npos;)
    revision.replace(slash, 1, "%2F");
  const std::string url =
      fmt::format("{}/api/models/{}/revision/{}?blobs=true", environment_.endpoint, repo_.id(), revision);
  const auto text = persistently([&] { return transfer_.text(url, kListingBytesMax); });
  if (text) return parse_listing(*text);
  Error error = text.error();
  if (error.code == ErrorCode::not_found && error.reason.empty()) error.reason = kNoRepository;
  return tl::unexpected(error);
}

// Where the listing names no size or hash, the file's own address does.
Result<void> Puller::complete(HubFile& file) {
  if (file.size && !file.hash.empty()) return {};
  TRY(web::Headers headers, persistently([&] { return transfer_.describe(url_of(file)); }));
  const auto first = [&headers](std::initializer_list<const char*> names) {
    for (const char* const name : names)
      if (const auto found = headers.find(name); found != headers.end()) return found->second;
    return std::string();
  };
  std::string hash = first({"x-linked-etag", "etag"});
  std::erase(hash, '"');
  if (hash.starts_with("W/")) hash.erase(0, 2);
  const std::string size = first({"x-linked-size", "content-length"});
  const bool good_size =
      !size.empty() && size.size() < 16 && size.find_first_not_of("0123456789") == size.npos;
  if (!is_hash(hash) || !good_size)
    return fail(ErrorCode::data_loss,
                fmt::format("{}: the hub gives neither size nor hash to check it by", file.path));
  file.hash = hash;
  file.size = std::stoull(size);
  return {};
}

Result<boost::json::object> Puller::read_index(const Listing& listing) {
  const auto found = std::ranges::find(listing.files, kIndex, &HubFile::path);
  if (found == listing.files.end())
    return fail(ErrorCode::unsupported, fmt::format("no {}: it is no Diffusers model", kIndex));
  HubFile index = *found;
  TRY_VOID(complete(index));
  if (*index.size > kIndexBytesMax)
    return fail(ErrorCode::data_loss, fmt::format("{}: {} bytes are too many", kIndex, *index.size));
  TRY_VOID(fetch(index));
  TRY(const std::string text, read_whole_file(folder_ / "blobs" / index.hash, kIndexBytesMax));
  boost::json::error_code ec;
  boost::json::value value = boost::json::parse(text, ec);
  if (ec || !value.is_object())
    return fail(ErrorCode::data_loss, fmt::format("{}: not a JSON object", kIndex));
  return std::move(value.get_object());
}

Result<void> Puller::check_space(const std::vector<HubFile>& files) const {
  std::uint64_t wanted = 0;
  std::error_code ec;
  for (const HubFile& file : files)
    if (!fs::exists(folder_ / "blobs" / file.hash, ec)) wanted += *file.size;
  const fs::space_info space = fs::space(folder_, ec);
  if (ec || wanted <= space.available) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: {:.1f} GB are wanted, {:.1f} GB are free", folder_.string(),
                          static_cast<double>(wanted) / 1e9, static_cast<double>(space.available) / 1e9),
              folder_.string());
}

Result<void> Puller::fetch(const HubFile& file) {
  const std::uint64_t before = progress_.bytes_done;
  progress_.file = file.path;
  const BlobRequest request{.url = url_of(file), .name = file.path, .hash = file.hash, .size = *file.size};
  const auto attempt = [&] {
    return fetch_blob(transfer_, folder_ / "blobs", request, [&](std::uint64_t bytes) {
      progress_.bytes_done = before + bytes;
      tell();
    });
  };
  TRY_VOID(persistently(attempt));
  ++progress_.files_done;
  return {};
}

// The snapshot's entry is a link, put in place in one move.
Result<void> Puller::link(const HubFile& file) const {
  const fs::path entry = snapshot() / file.path;
  TRY_VOID(make_folders(entry.parent_path()));
  fs::path target = "../..";
  for (const char c : file.path)
    if (c == '/') target /= "..";
  target = target / "blobs" / file.hash;
  std::error_code ec;
  if (fs::read_symlink(entry, ec) == target && !ec) return {};
  const fs::path draft = fmt::format("{}.{}.link", entry.string(), ::getpid());
  fs::remove(draft, ec);
  fs::create_symlink(target, draft, ec);
  if (!ec) fs::rename(draft, entry, ec);
  if (ec) return folder_error(entry, ec);
  return {};
}

Result<void> Puller::write_ref() const {
  if (repo_.revision == commit_) return {};
  const fs::path ref = folder_ / "refs" / repo_.revision;
  TRY_VOID(make_folders(ref.parent_path()));
  const fs::path draft = folder_ / fmt::format("ref.{}", ::getpid());
  std::ofstream stream(draft, std::ios::binary);
  stream << commit_;
  stream.close();
  std::error_code ec;
  if (!stream) ec = {errno, std::generic_category()};
  if (!ec) fs::rename(draft, ref, ec);
  if (ec) return folder_error(ref, ec);
  return {};
}

Result<Pulled> Puller::run() {
  TRY(Listing listing, list());
  commit_ = listing.commit;
  TRY_VOID(make_folders(folder_ / "blobs"));
  TRY(const boost::json::object index, read_index(listing));
  TRY(std::vector<HubFile> files, choose_files(listing, index, options_.variant));
  progress_ = {};
  progress_.files = files.size();
  for (HubFile& file : files) {
    TRY_VOID(complete(file));
    progress_.bytes += *file.size;
  }
  TRY_VOID(check_space(files));
  for (const HubFile& file : files) {
    TRY_VOID(fetch(file));
  }
  for (const HubFile& file : files) {
    TRY_VOID(link(file));
  }
  TRY_VOID(write_ref());
  return Pulled{.folder = snapshot(), .commit = commit_, .files = files.size(), .bytes = progress_.bytes};
}

}  // namespace

Result<Pulled> pull(const Repo& repo, const Environment& environment, const PullOptions& options) {
  if (environment.offline)
    return fail(ErrorCode::unavailable, fmt::format("{}: not pulled, as HF_HUB_OFFLINE is set", repo.id()));
  TRY(const Lock lock,
      Lock::take(environment.cache / ".locks" / repo_folder({}, repo) / "diffused.lock", repo.id()));
  auto pulled = Puller(repo, environment, options).run();
  if (!pulled) return tl::unexpected(explained(std::move(pulled).error(), repo, environment));
  return pulled;
}

}  // namespace diffused::hub
