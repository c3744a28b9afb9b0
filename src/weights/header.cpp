#include "weights/header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "weights/header_json.h"
#include "weights/other_kinds.h"

namespace diffused::weights {
namespace {

constexpr std::size_t kLengthBytes = 8;

tl::unexpected<Error> damaged(std::string message) { return fail(ErrorCode::data_loss, std::move(message)); }

// The bytes a tensor takes. False when the product passes 64 bits.
bool byte_size(const Entry& entry, std::uint64_t& bytes) {
  bytes = c10::elementSize(entry.dtype);
  for (const std::int64_t size : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) return false;
  }
  return true;
}

}  // namespace

Result<Header> read_header(std::string_view file) {
  const bool plausible = file.size() > kLengthBytes && file[kLengthBytes] == '{';
  if (const auto other = plausible ? std::nullopt : other_kind(file)) return tl::unexpected<Error>(*other);
  if (file.size() < kLengthBytes) return damaged("truncated: no room for a safetensors header");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(),
              kLengthBytes);  // little-endian, as is every machine libtorch is built for
  if (length > kHeaderBytesMax)
    return damaged(fmt::format("damaged header: its length is given as {} bytes", length));
  if (length > file.size() - kLengthBytes) {
    return damaged(fmt::format("truncated: {} bytes, less than its header of {}", file.size(), length));
  }
  const std::string_view json = file.substr(kLengthBytes, length);
  if (!json.starts_with('{')) return damaged("damaged header: not a safetensors file");
  TRY(Header header, parse_header_json(json));

  const std::uint64_t data_start = kLengthBytes + length;
  const std::uint64_t data_size = file.size() - data_start;
  std::ranges::stable_sort(header.entries, {}, [](const Entry& e) { return std::pair(e.begin, e.end); });
  std::uint64_t position = 0;
  for (Entry& entry : header.entries) {
    std::uint64_t bytes = 0;
    if (entry.begin != position) {
      return damaged(fmt::format("damaged header: tensor '{}' starts at byte {} of the data, expected {}",
                                 entry.name, entry.begin, position));
    }
    if (!byte_size(entry, bytes) || entry.end < entry.begin || entry.end - entry.begin != bytes) {
      return damaged(
          fmt::format("damaged header: the offsets of tensor '{}' do not match its shape", entry.name));
    }
    if (entry.end > data_size) {
      return damaged(fmt::format("truncated: tensor '{}' ends at byte {} of {}", entry.name,
                                 data_start + entry.end, file.size()));
    }
    position = entry.end;
    entry.begin += data_start;
    entry.end += data_start;
  }
  if (position != data_size) {
    return damaged(fmt::format("damaged: {} bytes follow the last tensor", data_size - position));
  }
  return header;
}

}  // namespace diffused::weights
