// The golden files of tools/golden/make.py: one network's config, weights, inputs and stage outputs.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "support/files.h"
#include "support/load_error.h"
#include "support/safetensors.h"
#include "support/source_folder.h"
#include "weights/checkpoint.h"
#include "weights/scope.h"

namespace diffused::test {

// The largest difference, relative to the largest value expected.
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) {
    ADD_FAILURE() << "shape " << actual.sizes() << ", expected " << expected.sizes();
    return INFINITY;
  }
  const at::Tensor wanted = expected.to(at::kDouble);
  const double error = (actual.to(at::kDouble) - wanted).abs().max().item<double>();
  return error / wanted.abs().max().item<double>();
}

// What every stage must reach in float32.
inline constexpr double kGoldenTolerance = 1e-5;

class Golden {
 public:
  // tests/golden/NAME.safetensors
  explicit Golden(const std::string& name)
      : checkpoint_(weights::Checkpoint::open(folder(), {.stem = name, .variant = {}}).value()),
        config_(read_config(folder() / (name + ".safetensors"))) {}

  const boost::json::object& config() const { return config_; }
  weights::Scope scope(at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU) const {
    return {checkpoint_, "weights.", dtype, device};
  }
  at::Tensor in(const std::string& name) const {
    return tensor("in." + name, name == "ids" ? at::kLong : at::kFloat);
  }
  at::Tensor out(const std::string& name) const { return tensor("out." + name, at::kFloat); }

  // The network's tensors under their own names, to be changed and written again.
  NamedTensors weights() const {
    NamedTensors all;
    for (const auto& info : checkpoint_->list()) {
      if (info.name.starts_with(kPrefix))
        all.emplace_back(info.name.substr(kPrefix.size()), tensor(info.name, at::kFloat));
    }
    return all;
  }

  // Weights that nobody has asked for.
  std::vector<std::string> unused_weights() const {
    auto names = checkpoint_->unused();
    std::erase_if(names, [](const std::string& name) { return !name.starts_with(kPrefix); });
    return names;
  }

 private:
  static constexpr std::string_view kPrefix = "weights.";

  static std::filesystem::path folder() { return test::source_folder() / "tests/golden"; }

  static boost::json::object read_config(const std::filesystem::path& path) {
    const std::string file = read_file(path);
    std::uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof length);
    const auto header = boost::json::parse(std::string_view(file).substr(sizeof length, length));
    return boost::json::parse(header.at("__metadata__").at("config").as_string()).as_object();
  }

  at::Tensor tensor(const std::string& name, at::ScalarType dtype) const {
    const auto all = checkpoint_->list();
    const auto info = std::ranges::find(all, name, &weights::TensorInfo::name);
    if (info == all.end()) throw std::runtime_error("the golden file has no tensor " + name);
    return checkpoint_->tensor(name, info->shape, dtype, at::kCPU);
  }

  std::shared_ptr<weights::Checkpoint> checkpoint_;
  boost::json::object config_;
};

// A checkpoint of these tensors; the scope lives as long as this does.
class WrittenWeights {
 public:
  explicit WrittenWeights(const NamedTensors& tensors) {
    write_file(folder_.path() / "model.safetensors", safetensors_file(tensors));
    checkpoint_ = weights::Checkpoint::open(folder_.path(), {.stem = "model", .variant = {}}).value();
  }

  weights::Scope scope(at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU) const {
    return {checkpoint_, "", dtype, device};
  }
  std::vector<std::string> unused() const { return checkpoint_->unused(); }

 private:
  TemporaryFolder folder_;
  std::shared_ptr<weights::Checkpoint> checkpoint_;
};

}  // namespace diffused::test
