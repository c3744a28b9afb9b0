// A blob as a file whose name says all there is to know about it: ID.EXPIRES.SHA256.EXTENSION. It is written
// under another name, synced and renamed, so that a name that can be read always stands for a whole file; the
// hash tells later damage. Objects of a bucket are named alike.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "storage/blob_store.h"

namespace diffused::storage {

// Closes a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();
  int get() const { return number_; }
  bool open() const { return number_ >= 0; }

 private:
  int number_;
};

// What a file's name says, and its size.
struct BlobFile {
  std::string name;
  std::string id;
  std::int64_t expires = 0;
  std::string sha256;  // 64 hexadecimal digits
  std::string content_type;
  std::uint64_t size = 0;
};

// What the name says, if it is one of ours; the size is that of the regular file in `folder`, if there is
// one.
std::optional<BlobFile> parse_blob_name(const std::string& name);
std::optional<BlobFile> find_blob_file(int folder, const std::string& name);
// Whether the name is that of a file which was never finished.
bool is_unfinished(const std::string& name);

// The file that the blob is to become. Error: invalid_argument (no valid id, a content type that is not
// kept).
Result<BlobFile> describe_blob(std::string_view id, const Blob& blob);

// The error for a blob that is not there, or no longer.
tl::unexpected<Error> gone();

// Writes or reads the whole file in `folder` (a descriptor). Errors: unavailable ("storage_full",
// "storage_failed"); reading also not_found and data_loss. What was not confirmed by the disk is removed
// again.
Result<void> write_blob_file(int folder, const BlobFile& file, const std::string& bytes);
Result<Blob> read_blob_file(int folder, const BlobFile& file);
void unlink_blob_file(int folder, const BlobFile& file);

// Calls visit(name) for each entry of `folder`, a descriptor.
void each_name(int folder, const std::function<void(const std::string&)>& visit);

// Whether some number of bytes is free on the disk. Any thread.
class FreeSpace {
 public:
  // Nothing is asked of a `bytes_min` of 0.
  explicit FreeSpace(std::uint64_t bytes_min) : bytes_min_(bytes_min) {}
  // As of the last look. Error: unavailable "storage_full".
  Result<void> check() const;
  // Looks at the disk of `folder`, a descriptor, and says so.
  Result<void> look(int folder);

 private:
  const std::uint64_t bytes_min_;
  std::atomic<bool> enough_ = true;
};

// Logs that a blob is damaged; the error data_loss.
tl::unexpected<Error> damaged(const BlobFile& file);
// What a client may see of a store that does not work: unavailable "storage_failed".
Error storage_failed();
// Logs errno and gives what a client may see of it: storage_failed(), or "storage_full".
tl::unexpected<Error> storage_failure(std::string_view doing);

}  // namespace diffused::storage
