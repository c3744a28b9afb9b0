#include "hub/listing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <regex>
#include <set>

#include "hub/repo.h"

namespace diffused::hub {
namespace {

namespace json = boost::json;

constexpr std::size_t kFilesMax = 100'000;

bool is_hex(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string string_of(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

std::optional<std::uint64_t> size_of(const json::object& object) {
  const json::value* const value = object.if_contains("size");
  if (!value || !value->is_int64() || value->get_int64() < 0) return std::nullopt;
  return static_cast<std::uint64_t>(value->get_int64());
}

Result<HubFile> parse_file(const json::value& value) {
  const json::object* const object = value.if_object();
  const std::string path = object ? string_of(*object, "rfilename") : std::string();
  TRY_VOID(check_listed(path));
  HubFile file{.path = path, .size = size_of(*object), .hash = string_of(*object, "blobId")};
  const json::value* const lfs = object->if_contains("lfs");
  if (lfs && lfs->is_object()) {
    file.hash = string_of(lfs->get_object(), "sha256");
    if (const auto size = size_of(lfs->get_object())) file.size = size;
  }
  if (!file.hash.empty() && !is_hash(file.hash))
    return fail(ErrorCode::data_loss, fmt::format("the hub gives '{}' a hash that is none", path));
  return file;
}

// A component's folder on the hub, its files by their names in it.
struct Component {
  std::string name;
  std::string stem;  // of its weights
  std::vector<std::pair<std::string, HubFile>> files;

  const HubFile* find(std::string_view file) const {
    const auto found = std::ranges::find(files, file, &std::pair<std::string, HubFile>::first);
    return found == files.end() ? nullptr : &found->second;
  }
};

// "diffusion_pytorch_model", then perhaps a variant and a shard's number in either order. Groups: the variant
// where it stands before, the shards in all, the variant where it stands behind.
std::regex weights_pattern(const std::string& stem) {
  return std::regex(stem +
                    R"((?:\.([A-Za-z0-9_]+))?(?:-\d{5}-of-(\d{5}))?(?:\.([A-Za-z0-9_]+))?\.safetensors)");
}

// The weights in one spelling.
struct Weights {
  std::string variant;
  std::size_t shards = 0;  // 0: one file
  std::vector<const HubFile*> files;
};

std::vector<Weights> weights_of(const Component& component) {
  std::vector<Weights> all;
  const std::regex pattern = weights_pattern(component.stem);
  for (const auto& [name, file] : component.files) {
    std::smatch match;
    if (!std::regex_match(name, match, pattern)) continue;
    const std::string variant = match[1].matched ? match[1].str() : match[3].str();
    const std::size_t shards = match[2].matched ? std::stoul(match[2].str()) : 0;
    const auto same = [&](const Weights& weights) {
      return weights.variant == variant && weights.shards == shards;
    };
    auto found = std::ranges::find_if(all, same);
    if (found == all.end()) found = all.insert(all.end(), {variant, shards, {}});
    found->files.push_back(&file);
  }
  // One file before shards, as the loader has it.
  std::ranges::stable_sort(all, {}, &Weights::shards);
  return all;
}

// The index of weights in shards, in the spellings there are.
const HubFile* index_of(const Component& component, const std::string& variant) {
  const std::string stem = component.stem;
  if (variant.empty()) return component.find(stem + ".safetensors.index.json");
  for (const std::string& name : {fmt::format("{}.safetensors.index.{}.json", stem, variant),
                                  fmt::format("{}.safetensors.{}.index.json", stem, variant),
                                  fmt::format("{}.{}.safetensors.index.json", stem, variant)}) {
    if (const HubFile* const file = component.find(name)) return file;
  }
  return nullptr;
}

Result<void> add_weights(const Component& component, const std::string& variant,
                         std::vector<HubFile>& chosen) {
  const std::vector<Weights> all = weights_of(component);
  auto found = std::ranges::find(all, variant, &Weights::variant);
  if (found == all.end()) found = std::ranges::find(all, "", &Weights::variant);
  if (found == all.end() && !all.empty()) {
    std::set<std::string> variants;
    for (const Weights& weights : all) variants.insert(weights.variant);
    if (variants.size() > 1)
      return fail(ErrorCode::not_found,
                  fmt::format("{}: no plain weights, but the variants {}: choose one by --variant",
                              component.name, fmt::join(variants, ", ")));
    found = all.begin();
  }
  if (found == all.end()) {
    const bool pickle =
        std::ranges::any_of(component.files, [](const auto& file) { return file.first.ends_with(".bin"); });
    if (pickle)
      return fail(ErrorCode::unsupported,
                  fmt::format("{}: only pickled weights (.bin), which are never read", component.name));
    return fail(ErrorCode::not_found,
                fmt::format("{}: no {}.safetensors is listed", component.name, component.stem));
  }
  if (found->shards > 0) {
    const HubFile* const index = index_of(component, found->variant);
    if (index == nullptr || found->files.size() != found->shards)
      return fail(ErrorCode::not_found,
                  fmt::format("{}: {} of {} shards are listed, and {} index", component.name,
                              found->files.size(), found->shards, index ? "an" : "no"));
    chosen.push_back(*index);
  }
  for (const HubFile* const file : found->files) chosen.push_back(*file);
  return {};
}

// Configs and what tokenizers read; not the indices of weights, which come with their shards.
bool is_config(std::string_view name) {
  if (name.find(".index.") != name.npos || name.find('/') != name.npos) return false;
  return name.ends_with(".json") || name.ends_with(".txt") || name.ends_with(".model");
}

bool has_weights(std::string_view class_name) {
  return class_name.find("Tokenizer") == class_name.npos && class_name.find("Scheduler") == class_name.npos;
}

}  // namespace

bool is_hash(std::string_view text) { return (text.size() == 40 || text.size() == 64) && is_hex(text); }

bool is_component_used(std::string_view component) {
  constexpr std::array<std::string_view, 3> kUnused = {"safety_checker", "feature_extractor",
                                                       "image_encoder"};
  return std::ranges::find(kUnused, component) == kUnused.end();
}

Result<Listing> parse_listing(std::string_view text) {
  json::error_code ec;
  const json::value document = json::parse(json::string_view(text.data(), text.size()), ec);
  const json::object* const object = ec ? nullptr : document.if_object();
  Listing listing;
  if (object) listing.commit = string_of(*object, "sha");
  const json::value* const files = object ? object->if_contains("siblings") : nullptr;
  if (!is_commit(listing.commit) || !files || !files->is_array() || files->get_array().size() > kFilesMax)
    return fail(ErrorCode::data_loss, "the hub's answer is no description of a repository");
  for (const json::value& value : files->get_array()) {
    TRY(HubFile file, parse_file(value));
    listing.files.push_back(std::move(file));
  }
  return listing;
}

Result<std::vector<HubFile>> choose_files(const Listing& listing, const json::object& model_index,
                                          const std::string& variant) {
  std::vector<HubFile> chosen;
  for (const HubFile& file : listing.files)
    if (file.path == "model_index.json" || file.path == "diffused.json") chosen.push_back(file);
  for (const auto& [key, value] : model_index) {
    const json::array* const pair = value.if_array();
    if (key.starts_with("_") || !pair || pair->size() != 2 || !pair->at(0).is_string() ||
        !pair->at(1).is_string())
      continue;
    if (!is_component_used(key)) continue;
    TRY_VOID(check_wanted(key));
    Component component;
    component.name = key;
    component.stem = pair->at(0).get_string() == "diffusers" ? "diffusion_pytorch_model" : "model";
    const std::string prefix = component.name + "/";
    for (const HubFile& file : listing.files)
      if (file.path.starts_with(prefix)) component.files.emplace_back(file.path.substr(prefix.size()), file);
    if (component.files.empty())
      return fail(
          ErrorCode::not_found,
          fmt::format("model_index.json names '{}', but the hub lists nothing of it", component.name));
    for (const auto& [name, file] : component.files)
      if (is_config(name)) chosen.push_back(file);
    if (has_weights(std::string_view(pair->at(1).get_string()))) {
      TRY_VOID(add_weights(component, variant, chosen));
    }
  }
  for (const HubFile& file : chosen) {
    TRY_VOID(check_wanted(file.path));
  }
  return chosen;
}

}  // namespace diffused::hub
