// A model folder as model_index.json describes it, and the small questions every pipeline asks when it loads
// one. A checkpoint in one file looks the same, with what it lacks from a folder beside it.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "nn/linear.h"
#include "pipelines/single_file/single_file.h"
#include "weights/checkpoint.h"

namespace diffused::pipelines {

class ModelFolder {
 public:
  // `path` is a Diffusers folder, or a checkpoint in one file (single_file/single_file.h). What the file
  // lacks (tokenizers always, often text encoders and autoencoder) then comes from the first folder of
  // `parts` whose class is of the same family and whose configs do not contradict the file's shapes, and so
  // do the values of configs that tensors do not tell. Errors: not_found, data_loss, unsupported (no
  // Diffusers folder, no known checkpoint, no parts for it). `vae`, unless empty, is another autoencoder: its
  // folder, a model's with one, or a file.
  static Result<ModelFolder> open(const std::filesystem::path& path, std::string variant,
                                  const std::vector<std::string>& parts = {},
                                  const std::filesystem::path& vae = {});

  // The folder, or that of the parts.
  const std::filesystem::path& path() const { return path_; }
  // "_class_name" of model_index.json, or what the single file is.
  const std::string& class_name() const { return class_name_; }

  // Whether a component is named in model_index.json and its folder exists, or is in the single file.
  bool has(const std::string& component) const;

  // Checks that the component is of this library and class: unsupported when it is another, not_found without
  // it.
  Result<void> require(const std::string& component, std::string_view library,
                       std::string_view class_name) const;

  // The class a component is of; empty when it is absent.
  std::string class_of(const std::string& component) const;

  // A boolean option of model_index.json. Error: data_loss when it is something else.
  Result<bool> option(const std::string& key, bool fallback) const;

  // A JSON file of the folder, such as "vae/config.json".
  Result<boost::json::object> json(const std::string& file) const;
  // As json(), but empty when the file is not there.
  Result<boost::json::object> optional_json(const std::string& file) const;

  // "vae/config.json" read by Config::from_json; its errors then name the file.
  template <typename Config>
  Result<Config> config(const std::string& component) const {
    const std::string file = component + "/config.json";
    TRY(const boost::json::object object, json(file));
    return named(file, Config::from_json(object));
  }

  // A component's weights; `stem` as in CheckpointOptions.
  Result<std::shared_ptr<weights::Checkpoint>> checkpoint(const std::string& component,
                                                          const std::string& stem) const;

  // An error about what stands in `file`.
  tl::unexpected<Error> refuse(ErrorCode code, const std::string& file, std::string_view message) const;

  // `result` with this file's name put before an error's message.
  template <typename T>
  Result<T> named(const std::string& file, Result<T> result) const {
    if (!result) return refuse(result.error().code, file, fmt::format("{}", result.error().message));
    return result;
  }

 private:
  ModelFolder() = default;
  static Result<ModelFolder> open_folder(const std::filesystem::path& path, std::string variant);
  static Result<ModelFolder> open_file(const std::filesystem::path& path, std::string variant,
                                       const std::vector<std::string>& parts);
  Result<void> take_in(SingleFile file);
  Result<void> take_in_scheduler(SingleFile& file);
  Result<void> take_vae(const std::filesystem::path& path);
  // A number of a component's config.json; 0 without it.
  Result<std::int64_t> number_in(const std::string& component, const char* key) const;
  // How this folder is of another generation than the file; empty when it is not.
  Result<std::string> contradiction(const SingleFile& file) const;
  std::filesystem::path folder_of(const std::string& component) const;
  std::filesystem::path path_of(const std::string& file) const;
  // Whether `file`, such as "vae/config.json", tells of a component in the single file.
  bool is_in_file(const std::string& file) const;

  std::filesystem::path path_;
  std::string variant_;
  std::string class_name_;
  boost::json::object index_;
  // Of a single file.
  std::filesystem::path file_;
  std::map<std::string, std::shared_ptr<weights::Checkpoint>> file_weights_;  // component → tensors
  std::map<std::string, std::filesystem::path> files_;                        // component → its file
  std::map<std::string, boost::json::object> file_configs_;                   // "vae/config.json" → content
  std::map<std::string, std::filesystem::path> other_folders_;  // of components that lie elsewhere
};

// "fp32", "bf16" or empty (see LoadOptions::dtype). Error: unsupported, field "dtype".
Result<at::ScalarType> choose_dtype(const std::string& name, const at::Device& device);

// "int8" or empty (see LoadOptions::quantize). Error: unsupported, field "quantize", with what is missing.
Result<nn::LinearFormat> choose_format(const std::string& quantize, at::ScalarType dtype,
                                       const at::Device& device);
// Error: unsupported, field "device".
Result<at::Device> choose_device(const std::string& name);
// "fp32" or "bf16".
std::string dtype_label(at::ScalarType dtype);

}  // namespace diffused::pipelines
