#include "tokenizers/byte_pair_files.h"

#include <fmt/format.h>

#include <limits>
#include <optional>
#include <sstream>

namespace diffused::tokenizers {
namespace {

Result<Vocabulary> read_vocabulary(const json::object& object, const std::filesystem::path& file) {
  Vocabulary vocabulary;
  vocabulary.reserve(object.size());
  for (const auto& [token, id] : object) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() > std::numeric_limits<int>::max()) {
      return bad_file(ErrorCode::data_loss, file,
                      fmt::format("the id of \"{}\" must be a whole number", std::string_view(token)));
    }
    vocabulary.emplace(token, static_cast<int>(id.get_int64()));
  }
  return vocabulary;
}

// "left right"; nothing when it is not of that form.
std::optional<BytePair::Merge> split_merge(std::string_view text) {
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos || text.rfind(' ') != space) return std::nullopt;
  return BytePair::Merge(text.substr(0, space), text.substr(space + 1));
}

std::optional<BytePair::Merge> read_merge(const json::value& value) {
  if (value.is_string()) return split_merge(value.get_string());
  const json::array* pair = value.if_array();
  const bool two_strings = pair && pair->size() == 2 && pair->front().is_string() && pair->back().is_string();
  if (!two_strings) return std::nullopt;
  return BytePair::Merge(pair->front().get_string(), pair->back().get_string());
}

Result<BytePairFiles> read_byte_pair_json(const Folder& folder) {
  const std::filesystem::path file = tokenizer_file(folder);
  BytePairFiles data{.merges_file = file};
  TRY(const json::object* model, model_member(folder, "BPE"));
  TRY(const json::object* vocabulary, object_member(*model, "vocab", file));
  TRY(data.vocabulary, read_vocabulary(*vocabulary, file));
  TRY(const json::array* merges, array_member(*model, "merges", file));
  for (const json::value& value : *merges) {
    auto merge = read_merge(value);
    if (!merge) return bad_file(ErrorCode::data_loss, file, "a merge must be \"a b\" or [\"a\", \"b\"]");
    data.merges.push_back(std::move(*merge));
  }
  return data;
}

Result<BytePairFiles> read_classic_files(const Folder& folder) {
  const std::filesystem::path vocabulary_file = folder.path / "vocab.json";
  BytePairFiles data{.merges_file = folder.path / "merges.txt"};
  std::error_code error;
  if (!std::filesystem::exists(vocabulary_file, error)) {
    return bad_file(ErrorCode::not_found, folder.path,
                    "holds neither tokenizer.json nor vocab.json and merges.txt");
  }
  TRY(const json::object vocabulary, read_json(vocabulary_file));
  TRY(data.vocabulary, read_vocabulary(vocabulary, vocabulary_file));
  TRY(const std::string merges, read_file(data.merges_file));
  std::istringstream lines(merges);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#version")) continue;
    if (line.ends_with('\r')) line.pop_back();
    auto merge = split_merge(line);
    if (!merge) {
      return bad_file(ErrorCode::data_loss, data.merges_file, fmt::format("\"{}\" is not a merge", line));
    }
    data.merges.push_back(std::move(*merge));
  }
  return data;
}

}  // namespace

Result<BytePairFiles> read_byte_pair_files(const Folder& folder) {
  return folder.tokenizer ? read_byte_pair_json(folder) : read_classic_files(folder);
}

}  // namespace diffused::tokenizers
