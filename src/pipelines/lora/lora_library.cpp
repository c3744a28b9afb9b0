#include "pipelines/lora/lora_library.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "pipelines/found_files.h"
#include "tokenizers/unicode.h"
#include "weights/scope.h"

namespace diffused::pipelines {
namespace {

constexpr std::size_t kKept = 8;  // LoRAs that stay in memory though no row has them

// The two below are where a damaged file's LoadError becomes its Error.
Result<LoraFile> open(const FoundFile& found, const LoraNames& names, const ChangeableLayers& layers) {
  if (!found.refusal.empty()) return fail(ErrorCode::unsupported, found.refusal);
  try {
    return LoraFile::open(found.path, names, layers);
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

}  // namespace

Result<LoraLibrary> LoraLibrary::scan(const std::filesystem::path& folder, const LoadedWeights& model,
                                      at::ScalarType dtype, at::Device device) {
  LoraLibrary library;
  library.device_ = {dtype, device};
  library.model_ = model;
  const LoraNames names(model.changeable);
  TRY(const std::vector<FoundFile> files, find_safetensors(folder));
  for (const FoundFile& found : files) {
    auto file = open(found, names, model.changeable);
    if (file)
      library.files_.emplace(found.name, *std::move(file));
    else
      log(LogLevel::warning, "lora_left_out",
          {{"lora", tokenizers::valid_utf8(found.name)}, {"error", file.error().message}});
  }
  return library;
}

std::vector<std::string> LoraLibrary::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : files_) names.push_back(name);
  return names;
}

std::map<std::string, std::string> LoraLibrary::aliases() const {
  std::map<std::string, std::vector<std::string>> names;
  for (const auto& [name, file] : files_) {
    if (!file.alias().empty()) names[file.alias()].push_back(name);
  }
  std::map<std::string, std::string> aliases;
  for (const auto& [alias, own] : names) {
    if (own.size() == 1) aliases.emplace(alias, own.front());
  }
  return aliases;
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
