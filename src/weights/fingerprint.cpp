#include "weights/fingerprint.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/check.h"

namespace diffused::weights {
namespace {

constexpr std::size_t kReadBytes = 1 << 20;

// A file that is read from, not mapped: one that is cut short meanwhile then is an error and no signal.
class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  bool is(const FileStamp& stamp) const {
    struct stat status {};
    return fd_ >= 0 && ::fstat(fd_, &status) == 0 && stamp_of(status) == stamp;
  }

  // False when there is less than that.
  bool hash(std::uint64_t begin, std::uint64_t end, EVP_MD_CTX* context) const {
    std::vector<char> buffer(std::min<std::uint64_t>(kReadBytes, end - begin));
    while (begin < end) {
      const ssize_t count = ::pread(fd_, buffer.data(), std::min<std::uint64_t>(buffer.size(), end - begin),
                                    static_cast<off_t>(begin));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return false;
      CHECK(EVP_DigestUpdate(context, buffer.data(), static_cast<std::size_t>(count)) == 1);
      begin += static_cast<std::uint64_t>(count);
    }
    return true;
  }

 private:
  int fd_;
};

bool same_but_for_bytes(const Fingerprint::Tensor& one, const Fingerprint::Tensor& other) {
  return one.name == other.name && one.dtype == other.dtype && one.shape == other.shape &&
         one.form == other.form && one.scale == other.scale && one.end - one.begin == other.end - other.begin;
}

bool same_place(const Fingerprint::Tensor& one, const Fingerprint::Tensor& other) {
  return one.begin == other.begin && one.file->stamp == other.file->stamp;
}

}  // namespace

bool Fingerprint::is_current() const {
  std::set<const SourceFile*> files;
  for (const Tensor& tensor : tensors) files.insert(tensor.file.get());
  return std::ranges::all_of(files,
                             [](const SourceFile* file) { return stamp_of(file->path) == file->stamp; });
}

bool FingerprintComparer::equal(const Fingerprint& one, const Fingerprint& other) {
  if (!std::ranges::equal(one.tensors, other.tensors, same_but_for_bytes)) return false;
  // One tensor after the other: fine-tunes of one network are told apart by the first that differs.
  return std::ranges::equal(one.tensors, other.tensors,
                            [this](const Fingerprint::Tensor& a, const Fingerprint::Tensor& b) {
                              if (!a.valued || same_place(a, b)) return true;
                              const auto first = digest(a);
                              return first && first == digest(b);
                            });
}

std::optional<FingerprintComparer::Digest> FingerprintComparer::digest(const Fingerprint::Tensor& tensor) {
  const SourceFile& source = *tensor.file;
  const Span span{source.stamp, tensor.begin, tensor.end};
  if (const auto known = known_.find(span); known != known_.end()) return known->second;
  const OpenFile file(source.path);
  if (!file.is(source.stamp)) return std::nullopt;
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  CHECK(context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1);
  if (!file.hash(tensor.begin, tensor.end, context.get())) return std::nullopt;
  if (!file.is(source.stamp)) return std::nullopt;  // written to meanwhile
  Digest digest;
  CHECK(EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1);
  return known_.emplace(span, digest).first->second;
}

}  // namespace diffused::weights
