// What a hub says a repository holds, and what of it a pipeline needs. Pure; any thread.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace diffused::hub {

// A file of a repository. Large files are known by the SHA-256 of their bytes, small ones by git's name for
// them.
struct HubFile {
  std::string path;                   // such as "vae/config.json"
  std::optional<std::uint64_t> size;  // bytes; both are missing where the hub leaves them out
  std::string hash;                   // lower-case hexadecimal: 64 digits of SHA-256 or 40 of git's SHA-1
};

struct Listing {
  std::string commit;
  std::vector<HubFile> files;
};

// The answer of GET /api/models/OWNER/NAME/revision/REVISION?blobs=true. Error: data_loss when it is not one,
// or lists what no repository can hold.
Result<Listing> parse_listing(std::string_view text);

// Whether a hash is of the kind that HubFile has.
bool is_hash(std::string_view text);

// Whether the server reads this component of a model_index.json; it does without safety checkers and what
// feeds them.
bool is_component_used(std::string_view component);

// The files that a pipeline of this model_index.json is loaded from: the configs, tokenizers and weights of
// its components, the weights once each. Only safetensors; those of `variant` ("fp16") where a component has
// them, else the plain ones, else the only variant there is. Errors: not_found (a component of which nothing
// is listed, or shards that are missing), unsupported (weights only as pickle), data_loss (names that are
// refused).
Result<std::vector<HubFile>> choose_files(const Listing& listing, const boost::json::object& model_index,
                                          const std::string& variant);

}  // namespace diffused::hub
