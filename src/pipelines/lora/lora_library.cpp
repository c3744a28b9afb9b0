#include "pipelines/lora/lora_library.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/algorithm/string/predicate.hpp>
#include <system_error>

#include "base/check.h"
#include "base/log.h"
#include "tokenizers/unicode.h"
#include "weights/scope.h"

namespace diffused::pipelines {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kKept = 8;  // LoRAs that stay in memory though no row has them
constexpr std::string_view kEnding = ".safetensors";

// The two below are where a damaged file's LoadError becomes its Error.
Result<LoraFile> open(const std::filesystem::path& path, const LoraNames& names,
                      const ChangeableLayers& layers) {
  try {
    return LoraFile::open(path, names, layers);
  } catch (const weights::LoadError& error) {
    return tl::unexpected<Error>(error.error);
  }
}

Result<std::shared_ptr<const nn::Lora>> read(const LoraFile& file, const LoadedWeights& model,
                                             LoraDevice device) {
  try {
    return file.load(model, device);
  } catch (const weights::LoadError& error) {
    return tl::unexpected<Error>(error.error);
  }
}

// Whether a link leads back to a folder that it lies in.
bool leads_back(const fs::path& folder, const fs::path& entry) {
  std::error_code ec;
  for (fs::path above = entry; above != folder && above.has_relative_path();) {
    above = above.parent_path();
    if (fs::equivalent(above, entry, ec)) return true;
  }
  return false;
}

// The file, unless it is no file (a pipe would never be read to its end) or nobody could ask for its name.
Result<LoraFile> open_named(const fs::path& path, const std::string& name, const LoraNames& names,
                            const ChangeableLayers& layers) {
  const auto refused = [&](const char* why) {
    return fail(ErrorCode::unsupported, tokenizers::valid_utf8(path.string()) + ": " + why);
  };
  std::error_code ec;
  if (!fs::is_regular_file(path, ec)) return refused("not a file");
  if (tokenizers::valid_utf8(name) != name) return refused("the name is not UTF-8");
  return open(path, names, layers);
}

}  // namespace

Result<LoraLibrary> LoraLibrary::scan(const std::filesystem::path& folder, const LoadedWeights& model,
                                      at::ScalarType dtype, at::Device device) {
  LoraLibrary library;
  library.device_ = {dtype, device};
  library.model_ = model;
  const LoraNames names(model.changeable);
  std::error_code ec;
  fs::recursive_directory_iterator entry(folder, fs::directory_options::follow_directory_symlink, ec);
  for (; !ec && entry != fs::recursive_directory_iterator(); entry.increment(ec)) {
    const fs::path& path = entry->path();
    if (entry->is_symlink(ec) && leads_back(folder, path)) entry.disable_recursion_pending();
    if (!boost::algorithm::iequals(path.extension().string(), kEnding)) continue;
    std::string name = path.lexically_relative(folder).generic_string();
    name.resize(name.size() - kEnding.size());
    auto file = open_named(path, name, names, model.changeable);
    if (file)
      library.files_.emplace(std::move(name), *std::move(file));
    else
      log(LogLevel::warning, "lora_left_out",
          {{"lora", tokenizers::valid_utf8(name)}, {"error", file.error().message}});
  }
  if (ec) {
    return fail(ErrorCode::not_found, fmt::format("{}: {}", folder.string(), ec.message()), folder.string());
  }
  return library;
}

std::vector<std::string> LoraLibrary::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : files_) names.push_back(name);
  return names;
}

Result<nn::LoraSet> LoraLibrary::choose(const std::vector<LoraChoice>& choices) {
  nn::LoraSet set;
  for (const LoraChoice& choice : choices) {
    if (choice.weight == 0) continue;
    TRY(auto lora, load(choice.name));
    set.push_back({std::move(lora), choice.weight});
  }
  return set;
}

Result<std::shared_ptr<const nn::Lora>> LoraLibrary::load(const std::string& name) {
  const auto kept = std::ranges::find(recent_, name, &Kept::name);
  if (kept != recent_.end()) {
    recent_.splice(recent_.begin(), recent_, kept);
    return recent_.front().lora;
  }
  const auto file = files_.find(name);
  CHECK_WITH(file != files_.end(), "a LoRA that resolve() should have refused");
  TRY(auto lora, read(file->second, model_, device_));
  recent_.push_front({name, lora});
  if (recent_.size() > kKept) recent_.pop_back();
  return lora;
}

std::vector<LoraChoice> in_text_encoders(std::vector<LoraChoice> choices) {
  for (LoraChoice& choice : choices) choice.weight = choice.text_weight.value_or(choice.weight);
  return choices;
}

std::string lora_key(const std::vector<LoraChoice>& choices) {
  std::string key;
  for (const LoraChoice& choice : in_text_encoders(choices)) {
    if (choice.weight != 0) key += fmt::format("\n{}:{:a}", choice.name, choice.weight);
  }
  return key;
}

}  // namespace diffused::pipelines
