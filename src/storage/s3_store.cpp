#include "storage/s3_store.h"

#include <fmt/format.h>

#include "base/ids.h"
#include "storage/sha256.h"

namespace diffused::storage {
namespace {

// What a client may see of it.
Error shown(Error error) {
  if (error.code == ErrorCode::unavailable)
    error.message = error.reason == "storage_full" ? "the store for pictures is full"
                                                   : "the store for pictures does not work at present";
  return error;
}

template <typename T>
Result<T> shown(Result<T> result) {
  if (!result) result = tl::unexpected(shown(std::move(result).error()));
  return result;
}

}  // namespace

Result<std::unique_ptr<S3Store>> S3Store::open(S3Address address, const std::string& folder, S3Limits limits,
                                               const Clock& clock) {
  const std::string name = fmt::format("s3://{}/{}{}", address.bucket, address.prefix, folder);
  std::unique_ptr<S3Store> store(new S3Store(std::move(address), folder + "/", limits, clock));
  auto usable = store->probe();
  if (usable) usable = store->count();
  if (usable) return store;
  Error error = std::move(usable).error();
  error.message = fmt::format("{}: {}", name, error.message);
  return tl::unexpected(std::move(error));
}

Result<void> S3Store::probe() {
  const std::string name = folder_ + random_id("probe_");
  TRY_VOID(bucket_.put(name, "", sha256_hex(""), "text/plain"));
  TRY(const std::vector<S3Object> listed, bucket_.list(name));
  return bucket_.remove(name);
}

Result<void> S3Store::check_room() const { return shown(bucket_.check()); }

Result<std::vector<BlobFile>> S3Store::list(const std::string& beginning) {
  TRY(const std::vector<S3Object> objects, shown(bucket_.list(folder_ + beginning)));
  std::vector<BlobFile> files;
  for (const S3Object& object : objects) {
    if (auto file = parse_blob_name(object.name.substr(folder_.size()))) {
      file->size = object.size;
      files.push_back(*std::move(file));
    }
  }
  return files;
}

Result<std::optional<BlobFile>> S3Store::find(std::string_view id) {
  TRY(const std::vector<BlobFile> files, list(fmt::format("{}.", id)));
  std::optional<BlobFile> found;
  for (const BlobFile& file : files)
    if (!found || file.expires > found->expires) found = file;
  return found;
}

Result<void> S3Store::write(const BlobFile& file, const std::string& bytes) {
  return shown(bucket_.put(folder_ + file.name, bytes, file.sha256, file.content_type));
}

Result<Blob> S3Store::read(const BlobFile& file) {
  auto bytes = shown(bucket_.get(folder_ + file.name, file.size));
  if (!bytes && bytes.error().code != ErrorCode::data_loss) return tl::unexpected(std::move(bytes).error());
  if (!bytes || sha256_hex(*bytes) != file.sha256) return damaged(file);
  return Blob{std::make_shared<const std::string>(*std::move(bytes)), file.content_type, file.expires};
}

Result<void> S3Store::erase(const BlobFile& file) { return shown(bucket_.remove(folder_ + file.name)); }

}  // namespace diffused::storage
