#include "weights/checkpoint_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "weights/header.h"
#include "weights/mapped_file.h"

namespace diffused::weights {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

bool is_file(const fs::path& path) {
  std::error_code ec;
  return fs::is_regular_file(path, ec);
}

// A name that stays in its folder.
bool is_base_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

tl::unexpected<Error> bad_index(const fs::path& index, std::string_view why) {
  return fail(ErrorCode::data_loss, fmt::format("{}: {}", index.string(), why), index.string());
}

Result<CheckpointFiles> read_index(const fs::path& index) {
  TRY(const auto mapped, MappedFile::open(index));
  const std::string_view text = mapped->bytes();
  if (text.size() > kHeaderBytesMax) return bad_index(index, "damaged: larger than 100 MB");
  json::error_code ec;
  const json::value document = json::parse(json::string_view(text.data(), text.size()), ec);
  const json::object* const object = ec ? nullptr : document.if_object();
  const json::value* const weight_map = object ? object->if_contains("weight_map") : nullptr;
  if (!weight_map || !weight_map->is_object())
    return bad_index(index, "damaged: no JSON object with a weight_map");

  CheckpointFiles found;
  std::set<std::string> names;
  for (const auto& [tensor, shard] : weight_map->get_object()) {
    const json::string* const name = shard.if_string();
    if (!name || !is_base_name(std::string(*name))) {
      return bad_index(index, fmt::format("damaged: the shard of tensor '{}' is not a plain file name",
                                          std::string_view(tensor)));
    }
    const std::string file(*name);
    if (names.insert(file).second) {
      const fs::path path = index.parent_path() / file;
      if (!is_file(path)) {
        return fail(ErrorCode::not_found,
                    fmt::format("{}: half-downloaded: shard '{}', named for tensor '{}', is not there",
                                index.string(), file, std::string_view(tensor)),
                    path.string());
      }
      found.files.push_back(path);
    }
    found.shards.emplace(std::string(tensor), file);
  }
  if (found.files.empty()) return bad_index(index, "damaged: it names no shard");
  return found;
}

bool holds_pickle(const fs::path& folder) {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(folder, ec)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt") return true;
  }
  return false;
}

struct Candidate {
  std::string name;
  bool index;
};

std::vector<Candidate> plain_candidates(const std::string& stem) {
  return {{stem + ".safetensors", false}, {stem + ".safetensors.index.json", true}};
}

std::vector<Candidate> variant_candidates(const std::string& stem, const std::string& variant) {
  return {{stem + "." + variant + ".safetensors", false},
          {stem + ".safetensors.index." + variant + ".json", true},
          {stem + ".safetensors." + variant + ".index.json", true},
          {stem + "." + variant + ".safetensors.index.json", true}};
}

// The first candidate that is there, if any.
std::optional<Result<CheckpointFiles>> open_first(const fs::path& folder,
                                                  const std::vector<Candidate>& candidates) {
  for (const Candidate& candidate : candidates) {
    const fs::path path = folder / candidate.name;
    if (!is_file(path)) continue;
    if (candidate.index) return read_index(path);
    return CheckpointFiles{.files = {path}, .shards = {}};
  }
  return std::nullopt;
}

// The variants that the folder holds whole, whatever their spelling.
std::vector<std::string> variants_in(const fs::path& folder, const std::string& stem) {
  std::set<std::string> words;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(folder, ec)) {
    std::istringstream name(entry.path().filename().string());
    for (std::string word; std::getline(name, word, '.');) words.insert(word);
  }
  std::vector<std::string> variants;
  for (const std::string& word : words) {
    if (word.find("-of-") != word.npos) continue;  // a shard's number, "fp16-00001-of-00003", is no variant
    const auto candidates = variant_candidates(stem, word);
    const auto there = [&folder](const Candidate& candidate) { return is_file(folder / candidate.name); };
    if (std::ranges::any_of(candidates, there)) variants.push_back(word);
  }
  return variants;
}

}  // namespace

Result<CheckpointFiles> find_checkpoint(const fs::path& folder, const std::string& stem,
                                        const std::string& variant) {
  std::error_code ec;
  if (!fs::is_directory(folder, ec)) {
    return fail(ErrorCode::not_found, fmt::format("{}: no such folder", folder.string()), folder.string());
  }
  if (!variant.empty()) {
    if (auto found = open_first(folder, variant_candidates(stem, variant))) return *std::move(found);
  }
  if (auto found = open_first(folder, plain_candidates(stem))) return *std::move(found);
  const std::vector<std::string> variants = variants_in(folder, stem);
  if (variants.size() == 1) return *open_first(folder, variant_candidates(stem, variants.front()));
  if (!variants.empty()) {
    return fail(ErrorCode::not_found,
                fmt::format("{}: no plain weights, but the variants {}: choose one", folder.string(),
                            fmt::join(variants, ", ")),
                folder.string());
  }
  if (holds_pickle(folder)) {
    return fail(
        ErrorCode::unsupported,
        fmt::format("{}: only pickled weights (.bin), which are never read; convert them to safetensors",
                    folder.string()),
        folder.string());
  }
  return fail(ErrorCode::not_found,
              fmt::format("{}: half-downloaded: neither '{}.safetensors' nor its index is there",
                          folder.string(), stem),
              folder.string());
}

}  // namespace diffused::weights
