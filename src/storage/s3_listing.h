// What a store that speaks S3 answers in XML.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace diffused::storage {

struct S3Object {
  std::string name;
  std::uint64_t size = 0;
};

// A page of the names in a bucket.
struct S3Listing {
  std::vector<S3Object> objects;
  std::string next;  // what to ask for the next page with; empty: this is the last
};

// Nothing when it is no such page.
std::optional<S3Listing> read_listing(const std::string& xml);

// The word for an error, such as "NoSuchBucket"; empty when there is none.
std::string error_word(const std::string& xml);

}  // namespace diffused::storage
