// The hashes by which a hub knows files, taken piece by piece.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace diffused::hub {

class Digest {
 public:
  // For comparing with `hash`: SHA-256 when it has 64 digits, else git's SHA-1 of a blob of `size` bytes.
  Digest(std::string_view hash, std::uint64_t size);
  void update(std::string_view bytes);
  // Lower-case hexadecimal; once.
  std::string hex();

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;
};

}  // namespace diffused::hub
