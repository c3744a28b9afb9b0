#include "tokenizers/folder.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "base/files.h"

namespace diffused::tokenizers {
namespace {

// Python writes -Infinity, Infinity and NaN, which are no JSON: a scheduler's lambda_min_clipped is one.
void numbers_that_are_none_to_null(std::string& text) {
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') in_string = !in_string;
    if (in_string && text[i] == '\\') ++i;
    if (in_string) continue;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
      if (text.compare(i, word.size(), word) == 0) text.replace(i, word.size(), "null");
    }
  }
}

// A vocabulary is some tens of megabytes.
constexpr std::size_t kFileBytesMax = 256 << 20;

// Above this, model_max_length means "no limit" (transformers writes 10^30).
constexpr double kLengthMax = 1'000'000;

Result<json::object> read_optional_json(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return json::object();
  return read_json(file);
}

}  // namespace

tl::unexpected<Error> bad_file(ErrorCode code, const std::filesystem::path& file, std::string_view what) {
  return fail(code, fmt::format("{}: {}", file.string(), what), file.string());
}

Result<std::string> read_file(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return bad_file(ErrorCode::not_found, file, "no such file");
  auto read = read_whole_file(file, kFileBytesMax);
  if (!read) return fail(ErrorCode::data_loss, read.error().message, file.string());
  std::string content = *std::move(read);
  if (content.starts_with("version https://git-lfs")) {
    return bad_file(ErrorCode::data_loss, file, "is a git-lfs pointer; the file itself was not downloaded");
  }
  return content;
}

Result<json::object> read_json(const std::filesystem::path& file) {
  TRY(std::string content, read_file(file));
  numbers_that_are_none_to_null(content);
  boost::system::error_code error;
  json::value value = json::parse(content, error);
  if (error) return bad_file(ErrorCode::data_loss, file, "is not JSON, or is cut off");
  if (!value.is_object()) return bad_file(ErrorCode::data_loss, file, "must hold a JSON object");
  return std::move(value.get_object());
}

Result<Folder> read_folder(const std::filesystem::path& path) {
  Folder folder{.path = path};
  std::error_code error;
  if (!std::filesystem::is_directory(path, error))
    return bad_file(ErrorCode::not_found, path, "no such folder");
  TRY(folder.config, read_optional_json(config_file(folder)));
  TRY(folder.special_tokens_map, read_optional_json(map_file(folder)));
  TRY(folder.added_tokens, read_optional_json(path / "added_tokens.json"));
  if (std::filesystem::exists(tokenizer_file(folder), error)) {
    TRY(folder.tokenizer, read_json(tokenizer_file(folder)));
  }
  for (const char* side : {"padding_side", "truncation_side"}) {
    const json::value* value = folder.config.if_contains(side);
    if (value != nullptr && *value != "right") {
      return bad_file(ErrorCode::unsupported, config_file(folder), fmt::format("{} must be \"right\"", side));
    }
  }
  return folder;
}

Result<std::optional<int>> length_default(const Folder& folder) {
  const json::value* value = folder.config.if_contains("model_max_length");
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (!value->is_number() || value->to_number<double>() < 2) {
    return bad_file(ErrorCode::data_loss, config_file(folder), "model_max_length must be a number above 1");
  }
  const auto length = value->to_number<double>();
  if (length > kLengthMax) return std::nullopt;
  return static_cast<int>(length);
}

Result<const json::object*> object_member(const json::object& object, std::string_view key,
                                          const std::filesystem::path& file) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_object()) {
    return bad_file(ErrorCode::data_loss, file, fmt::format("\"{}\" must be there and be an object", key));
  }
  return &value->get_object();
}

Result<const json::array*> array_member(const json::object& object, std::string_view key,
                                        const std::filesystem::path& file) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_array()) {
    return bad_file(ErrorCode::data_loss, file, fmt::format("\"{}\" must be there and be an array", key));
  }
  return &value->get_array();
}

Result<const json::object*> model_member(const Folder& folder, std::string_view type) {
  TRY(const json::object* model, object_member(*folder.tokenizer, "model", tokenizer_file(folder)));
  const json::value* given = model->if_contains("type");
  if (given != nullptr && *given != json::string_view(type)) {
    return bad_file(ErrorCode::unsupported, tokenizer_file(folder),
                    fmt::format("the model must be of type {}", type));
  }
  return model;
}

}  // namespace diffused::tokenizers
