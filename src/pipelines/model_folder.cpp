#include "pipelines/model_folder.h"

#include <ATen/Context.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/value.hpp>

#include "kernels/processor.h"
#include "tokenizers/folder.h"

namespace diffused::pipelines {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "model_index.json";

struct ComponentClass {
  std::string library;
  std::string class_name;
};

// A component's entry is [library, class]; [null, null] says that it is absent on purpose.
ComponentClass component_class(const boost::json::object& index, const std::string& component) {
  const boost::json::value* const entry = index.if_contains(component);
  if (!entry || !entry->is_array() || entry->get_array().size() != 2) return {};
  const boost::json::array& pair = entry->get_array();
  if (!pair[0].is_string() || !pair[1].is_string()) return {};
  return {std::string(pair[0].get_string()), std::string(pair[1].get_string())};
}

// A pipeline's class without what it is for.
std::string family_of(std::string class_name) {
  for (const std::string_view purpose : {"Inpaint", "Img2Img", "Fill", "Kontext", "Control"}) {
    const auto at = class_name.find(purpose);
    if (at != class_name.npos) class_name.erase(at, purpose.size());
  }
  return class_name;
}

// Whether a component of one class is configured as one of another.
bool same_config(std::string_view a, std::string_view b) {
  return a == b || (a.starts_with("Qwen3") && b.starts_with("Qwen3"));
}

// The class of a file in a folder of its family: of Kontext's file nothing but its name may have told.
std::string class_within(const std::string& file, const std::string& folder) {
  const bool kontext = folder.find("Kontext") != folder.npos;
  return file == "FluxPipeline" && kontext ? folder : file;
}

bool is_folder(const fs::path& path) {
  std::error_code ec;
  return fs::is_directory(path, ec);
}

}  // namespace

Result<ModelFolder> ModelFolder::open(const fs::path& path, std::string variant,
                                      const std::vector<std::string>& parts, const fs::path& vae) {
  std::error_code ec;
  TRY(ModelFolder folder, fs::is_regular_file(path, ec) ? open_file(path, std::move(variant), parts)
                                                        : open_folder(path, std::move(variant)));
  if (!vae.empty()) TRY_VOID(folder.take_vae(vae));
  return folder;
}

Result<ModelFolder> ModelFolder::open_folder(const fs::path& path, std::string variant) {
  if (!is_folder(path)) {
    return fail(ErrorCode::not_found, fmt::format("{}: no such folder or file", path.string()),
                path.string());
  }
  ModelFolder folder;
  folder.path_ = path;
  folder.variant_ = std::move(variant);
  std::error_code ec;
  if (!fs::exists(path / kIndex, ec)) {
    return folder.refuse(ErrorCode::not_found, kIndex,
                         "missing: no Diffusers model folder, or half-downloaded");
  }
  TRY(folder.index_, folder.json(kIndex));
  const boost::json::value* const name = folder.index_.if_contains("_class_name");
  if (!name || !name->is_string()) return folder.refuse(ErrorCode::data_loss, kIndex, "has no '_class_name'");
  folder.class_name_ = name->get_string();
  return folder;
}

Result<ModelFolder> ModelFolder::open_file(const fs::path& path, std::string variant,
                                           const std::vector<std::string>& parts) {
  TRY(SingleFile file, open_single_file(path));
  std::vector<ModelFolder> folders;
  for (const std::string& part : parts) {
    TRY(ModelFolder folder, open_folder(part, variant));
    if (family_of(folder.class_name_) == family_of(file.class_name)) folders.push_back(std::move(folder));
  }
  std::ranges::stable_partition(
      folders, [&file](const ModelFolder& folder) { return folder.class_name_ == file.class_name; });
  std::string why_not;
  for (ModelFolder& folder : folders) {
    TRY(const std::string contradiction, folder.contradiction(file));
    if (contradiction.empty()) {
      TRY_VOID(folder.take_in(std::move(file)));
      return std::move(folder);
    }
    if (why_not.empty()) why_not = fmt::format("{}: {}", folder.path_.string(), contradiction);
  }
  if (!why_not.empty()) {
    return fail(ErrorCode::unsupported,
                fmt::format("{}: no folder of --parts is of this {}'s generation ({})", path.string(),
                            file.class_name, why_not),
                path.string());
  }
  return fail(
      ErrorCode::not_found,
      fmt::format("{}: the tokenizers and other parts of this {} are wanted: name a Diffusers folder of "
                  "that class with --parts{}",
                  path.string(), file.class_name,
                  parts.empty() ? "" : fmt::format(" (not {})", fmt::join(parts, ", "))),
      path.string());
}

Result<std::int64_t> ModelFolder::number_in(const std::string& component, const char* key) const {
  TRY(const boost::json::object config, optional_json(component + "/config.json"));
  const boost::json::value* const inside = config.if_contains("text_config");
  const boost::json::value* const value =
      (inside && inside->is_object() ? inside->get_object() : config).if_contains(key);
  return value && value->is_int64() ? value->get_int64() : 0;
}

// Folders of one class need not be of one generation: Stable Diffusion 1 and 2 differ by the width of their
// texts, by their projections and in what no shape tells; FLUX.1 schnell and dev by their noise levels.
Result<std::string> ModelFolder::contradiction(const SingleFile& file) const {
  for (const auto& [component, key] :
       {std::pair("text_encoder", "hidden_size"), std::pair("text_encoder_2", "hidden_size"),
        std::pair("unet", "cross_attention_dim"), std::pair("transformer", "joint_attention_dim"),
        std::pair("transformer", "cap_feat_dim")}) {
    const auto there = file.components.find(component);
    if (there == file.components.end() || !there->second.told.contains(key)) continue;
    TRY(const std::int64_t theirs, number_in(component, key));
    const std::int64_t ours = there->second.told.at(key).to_number<std::int64_t>();
    if (theirs != 0 && theirs != ours)
      return fmt::format("its {}'s {} is {}, the file's {}", component, key, theirs, ours);
  }
  for (const auto& [component, key] :
       {std::pair("unet", "use_linear_projection"), std::pair("transformer", "guidance_embeds")}) {
    const auto there = file.components.find(component);
    if (there == file.components.end() || !there->second.told.contains(key)) continue;
    TRY(const boost::json::object config, optional_json(component + std::string("/config.json")));
    const boost::json::value* const theirs = config.if_contains(key);
    // A whole config that does not name it has the default; a fragment says nothing.
    if (!theirs && !config.contains("in_channels")) continue;
    if ((theirs ? *theirs : boost::json::value(false)) == there->second.told.at(key)) continue;
    return fmt::format("its {}'s {} is not the file's", component, key);
  }
  // Of texts that the folder encodes for the file.
  const auto unet = file.components.find("unet");
  if (unet == file.components.end() || !unet->second.told.contains("cross_attention_dim"))
    return std::string();
  TRY(const std::int64_t first, number_in("text_encoder", "hidden_size"));
  TRY(const std::int64_t second, number_in("text_encoder_2", "hidden_size"));
  const std::int64_t wanted = unet->second.told.at("cross_attention_dim").to_number<std::int64_t>();
  const bool whole = first != 0 && (second != 0 || !class_of("text_encoder_2").empty());
  if (!whole || first + second == wanted || file.components.contains("text_encoder")) return std::string();
  return fmt::format("its texts are {} wide, those of the file {}", first + second, wanted);
}

Result<void> ModelFolder::take_vae(const fs::path& path) {
  const std::string component = "vae", config_file = "vae/config.json";
  std::error_code ec;
  if (fs::is_directory(path, ec)) {
    file_weights_.erase(component);
    file_configs_.erase(config_file);
    other_folders_[component] = fs::is_directory(path / component, ec) ? path / component : path;
    TRY(const boost::json::object config, optional_json(config_file));
    const boost::json::value* const name = config.if_contains("_class_name");
    index_[component] = {"diffusers",
                         name && name->is_string() ? *name : boost::json::value("AutoencoderKL")};
    return {};
  }
  TRY(FileComponent vae, open_autoencoder_file(path));
  index_[component] = {vae.library, vae.class_name};
  // What its tensors do not tell is as with the model's own.
  TRY(boost::json::object config, optional_json(config_file));
  for (const auto& [key, value] : vae.told) config[key] = value;
  file_configs_[config_file] = std::move(config);
  file_weights_[component] = std::move(vae.weights);
  files_[component] = path;
  return {};
}

Result<void> ModelFolder::take_in_scheduler(SingleFile& file) {
  const std::string name = "scheduler/scheduler_config.json";
  boost::json::object scheduler = std::move(file.scheduler);
  const auto continuous = [](const std::string& class_name) { return class_name.starts_with("EDM"); };
  const bool theirs = has("scheduler") && (!file.scheduler_marked || continuous(class_of("scheduler")));
  if (theirs) {
    TRY(scheduler, json(name));
  } else {
    index_["scheduler"] = {"diffusers", file.scheduler_class};
  }
  for (const auto& [key, value] : file.scheduler_told) scheduler[key] = value;
  file_configs_[name] = std::move(scheduler);
  return {};
}

Result<void> ModelFolder::take_in(SingleFile file) {
  for (auto& [name, component] : file.components) {
    const std::string config_file = name + "/config.json";
    boost::json::object config = std::move(component.likely);
    // Another class would mean other things by the same keys.
    if (same_config(class_of(name), component.class_name)) {
      TRY(const boost::json::object theirs, optional_json(config_file));
      for (const auto& [key, value] : theirs) config[key] = value;
    }
    for (const auto& [key, value] : component.told) config[key] = value;
    file_configs_[config_file] = std::move(config);
    file_weights_[name] = std::move(component.weights);
    files_[name] = file.path;
    index_[name] = {component.library, component.class_name};
  }
  TRY_VOID(take_in_scheduler(file));
  if (!file.vae_marked.empty()) {
    TRY(boost::json::object vae, optional_json("vae/config.json"));
    const boost::json::value* const theirs = vae.if_contains(file.vae_marked.begin()->key());
    if (!theirs || theirs->is_null()) {
      for (const auto& [key, value] : file.vae_marked) vae[key] = value;
    }
    file_configs_["vae/config.json"] = std::move(vae);
  }
  file_ = std::move(file.path);
  class_name_ = class_within(file.class_name, class_name_);
  return {};
}

bool ModelFolder::is_in_file(const std::string& file) const {
  return file_weights_.contains(file.substr(0, file.find('/')));
}

fs::path ModelFolder::folder_of(const std::string& component) const {
  const auto other = other_folders_.find(component);
  return other == other_folders_.end() ? path_ / component : other->second;
}

fs::path ModelFolder::path_of(const std::string& file) const {
  const std::size_t slash = file.find('/');
  return slash == file.npos ? path_ / file : folder_of(file.substr(0, slash)) / file.substr(slash + 1);
}

bool ModelFolder::has(const std::string& component) const {
  return !class_of(component).empty() && (is_in_file(component) || is_folder(folder_of(component)));
}

std::string ModelFolder::class_of(const std::string& component) const {
  return component_class(index_, component).class_name;
}

Result<void> ModelFolder::require(const std::string& component, std::string_view library,
                                  std::string_view class_name) const {
  const ComponentClass found = component_class(index_, component);
  if (found.class_name.empty()) {
    return refuse(ErrorCode::not_found, kIndex,
                  fmt::format("names no component '{}', which this model needs", component));
  }
  if (found.library != library || found.class_name != class_name) {
    return refuse(ErrorCode::unsupported, kIndex,
                  fmt::format("component '{}' is a {}.{}; only {}.{} is served", component, found.library,
                              found.class_name, library, class_name));
  }
  if (has(component)) return {};
  if (!file_.empty()) {
    return fail(ErrorCode::not_found,
                fmt::format("{}: has no {}, and neither has the folder of --parts, {}", file_.string(),
                            component, path_.string()),
                file_.string());
  }
  return refuse(ErrorCode::not_found, component,
                "missing: half-downloaded; model_index.json names this component");
}

Result<bool> ModelFolder::option(const std::string& key, bool fallback) const {
  const boost::json::value* const value = index_.if_contains(key);
  if (!value || value->is_null()) return fallback;
  if (value->is_bool()) return value->get_bool();
  return refuse(ErrorCode::data_loss, kIndex, fmt::format("'{}' must be true or false", key));
}

Result<boost::json::object> ModelFolder::json(const std::string& file) const {
  if (const auto told = file_configs_.find(file); told != file_configs_.end()) return told->second;
  return tokenizers::read_json(path_of(file));
}

Result<boost::json::object> ModelFolder::optional_json(const std::string& file) const {
  std::error_code ec;
  if (!file_configs_.contains(file) && !fs::exists(path_of(file), ec)) return boost::json::object();
  return json(file);
}

Result<std::shared_ptr<weights::Checkpoint>> ModelFolder::checkpoint(const std::string& component,
                                                                     const std::string& stem) const {
  if (const auto view = file_weights_.find(component); view != file_weights_.end()) return view->second;
  return weights::Checkpoint::open(folder_of(component), {.stem = stem, .variant = variant_});
}

tl::unexpected<Error> ModelFolder::refuse(ErrorCode code, const std::string& file,
                                          std::string_view message) const {
  const std::string path = path_of(file).string();
  if (!is_in_file(file)) return fail(code, fmt::format("{}: {}", path, message), path);
  const std::string in = files_.at(file.substr(0, file.find('/'))).string();
  return fail(code, fmt::format("{}: {}, as its tensors tell: {}", in, file, message), in);
}

Result<at::Device> choose_device(const std::string& name) {
  const bool cuda = name == "cuda" || name.starts_with("cuda:");
  if (name == "cpu") return at::Device(at::kCPU);
  if (!cuda)
    return fail(ErrorCode::unsupported, fmt::format("device '{}' is neither cpu nor cuda", name), "device");
  if (!at::globalContext().hasCUDA()) {
    return fail(ErrorCode::unsupported, "device 'cuda': this libtorch finds no CUDA device", "device");
  }
  return at::Device(name);
}

Result<at::ScalarType> choose_dtype(const std::string& name, const at::Device& device) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  if (name.empty())
    return !device.is_cpu() || kernels::has_avx512_for(at::kBFloat16) ? at::kBFloat16 : at::kFloat;
  return fail(ErrorCode::unsupported, fmt::format("dtype '{}' is neither fp32 nor bf16", name), "dtype");
}

Result<nn::LinearFormat> choose_format(const std::string& quantize, at::ScalarType dtype,
                                       const at::Device& device) {
  if (quantize.empty()) return nn::LinearFormat::plain;
  if (quantize != "int8") {
    return fail(ErrorCode::unsupported, fmt::format("quantize '{}' is not int8", quantize), "quantize");
  }
  const std::string why_not = nn::why_no_int8(dtype, device);
  if (why_not.empty()) return nn::LinearFormat::int8;
  return fail(ErrorCode::unsupported, fmt::format("quantize 'int8': {}", why_not), "quantize");
}

std::string dtype_label(at::ScalarType dtype) { return dtype == at::kFloat ? "fp32" : "bf16"; }

}  // namespace diffused::pipelines
