// Weights of 8 bits with a scale beside them, in the spellings of the tools that write them.
#include <fmt/format.h>

#include <ATen/ops/from_blob.h>

#include "weights/checkpoint.h"

namespace diffused::weights {
namespace {

constexpr std::string_view kWeight = "weight";
// Beside "layer.weight".
constexpr std::string_view kScales[] = {"scale_weight", "weight_scale"};
// Of the layer's input, and marks of the tool: nothing of them changes a weight.
constexpr std::string_view kMarks[] = {"scale_input", "input_scale", "comfy_quant"};
constexpr std::string_view kFileMark = "scaled_fp8";

bool is_8_bit(at::ScalarType dtype) { return dtype == at::kFloat8_e4m3fn || dtype == at::kFloat8_e5m2; }

}  // namespace

Result<void> Checkpoint::attach_scales() {
  std::vector<std::string> beside;
  for (auto& [name, place] : places_) {
    if (name.ends_with(kFileMark)) beside.push_back(name);
    if (!is_8_bit(place.entry.dtype) || !name.ends_with(kWeight)) continue;
    const std::string layer = name.substr(0, name.size() - kWeight.size());
    for (const std::string_view mark : kMarks) beside.push_back(layer + std::string(mark));
    for (const std::string_view scale : kScales) {
      const auto found = places_.find(layer + std::string(scale));
      if (found == places_.end()) continue;
      const Entry& entry = found->second.entry;
      std::int64_t count = 1;
      for (const std::int64_t size : entry.shape) count *= size;
      const bool fits = count == 1 || (!place.entry.shape.empty() && count == place.entry.shape[0]);
      if (entry.dtype != at::kFloat || !fits || place.entry.shape.empty()) {
        return fail(ErrorCode::unsupported,
                    fmt::format("{}: tensor '{}' is not one float32 scale, or one for each row of '{}'",
                                found->second.file->path().string(), found->first, name),
                    found->second.file->path().string());
      }
      place.scale = stored(found->second, at::kFloat, at::kCPU).clone().view({count});
      beside.push_back(found->first);
    }
  }
  for (const std::string& name : beside) places_.erase(name);
  return {};
}

}  // namespace diffused::weights
