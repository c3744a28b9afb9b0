// The files of a tokenizer folder, read but not yet understood.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace diffused::tokenizers {

namespace json = boost::json;

struct Folder {
  std::filesystem::path path;
  // Each empty when the file is absent.
  json::object config = {};                              // tokenizer_config.json
  json::object special_tokens_map = {};                  // special_tokens_map.json
  json::object added_tokens = {};                        // added_tokens.json
  std::optional<json::object> tokenizer = std::nullopt;  // tokenizer.json
};

// data_loss: a file is not a JSON object. unsupported: the folder asks to pad or truncate at the left.
Result<Folder> read_folder(const std::filesystem::path& path);

// model_max_length of tokenizer_config.json; none when it is absent or one of the huge numbers that mean "no
// limit".
Result<std::optional<int>> length_default(const Folder& folder);

// The whole file. not_found, or data_loss when it cannot be read or is a git-lfs pointer in place of the
// file.
Result<std::string> read_file(const std::filesystem::path& file);
// A JSON object; Python's Infinity and NaN are read as null.
Result<json::object> read_json(const std::filesystem::path& file);

// An error about `file`: "PATH: WHAT".
tl::unexpected<Error> bad_file(ErrorCode code, const std::filesystem::path& file, std::string_view what);

// `result`, whose error, if any, becomes one about `file`.
template <typename T>
Result<T> in_file(const std::filesystem::path& file, Result<T> result) {
  if (!result) return bad_file(result.error().code, file, result.error().message);
  return result;
}

// The member `key` of `object`, of the type asked for; else data_loss naming `file`. The pointer lives as
// long as `object`.
Result<const json::object*> object_member(const json::object& object, std::string_view key,
                                          const std::filesystem::path& file);
Result<const json::array*> array_member(const json::object& object, std::string_view key,
                                        const std::filesystem::path& file);

// The `model` of tokenizer.json; unsupported when it is of another type than `type` (an absent type is taken
// for it).
Result<const json::object*> model_member(const Folder& folder, std::string_view type);

inline std::filesystem::path config_file(const Folder& folder) {
  return folder.path / "tokenizer_config.json";
}
inline std::filesystem::path map_file(const Folder& folder) {
  return folder.path / "special_tokens_map.json";
}
inline std::filesystem::path tokenizer_file(const Folder& folder) { return folder.path / "tokenizer.json"; }

}  // namespace diffused::tokenizers
