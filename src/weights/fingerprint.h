// Whether two checkpoints hold the same tensors, told without reading more than is needed: where they lie in
// the same file nothing is read, and of different files the bytes count, not the names.
#pragma once

#include <c10/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "weights/file_stamp.h"

namespace diffused::weights {

struct SourceFile {
  std::filesystem::path path;
  FileStamp stamp;
};

// All of a checkpoint's tensors but their values. Plain data: keeps no file open.
struct Fingerprint {
  struct Tensor {
    std::string name;
    at::ScalarType dtype = at::kFloat;
    std::vector<std::int64_t> shape;
    int form = 0;        // how it is made of what the file has
    std::string scale;   // the bytes of what it is multiplied by
    bool valued = true;  // whether its values are read from the file
    std::shared_ptr<const SourceFile> file;
    std::uint64_t begin = 0, end = 0;  // bytes of the file
  };
  std::vector<Tensor> tensors;  // sorted by name

  // Whether the files are still those that were looked at.
  bool is_current() const;
};

// Says which are equal, and remembers what it has read for that. One thread at a time.
class FingerprintComparer {
 public:
  // Whether names, types, sizes and all bytes are equal; reads as long as nothing differs. False where a file
  // that would have to be read is no longer the one that was looked at.
  bool equal(const Fingerprint& one, const Fingerprint& other);

 private:
  using Digest = std::array<unsigned char, 32>;  // SHA-256
  using Span = std::tuple<FileStamp, std::uint64_t, std::uint64_t>;

  std::optional<Digest> digest(const Fingerprint::Tensor& tensor);

  std::map<Span, Digest> known_;
};

}  // namespace diffused::weights
