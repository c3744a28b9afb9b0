#include "pipelines/lora/lora_file.h"

#include <ATen/ops/cat.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <string_view>

#include "pipelines/lora/lora_scales.h"
#include "weights/checkpoint.h"

namespace diffused::pipelines {
namespace {

using weights::Checkpoint;

enum class Part { down, up, alpha };

struct Ending {
  std::string_view text;
  Part part;
};
constexpr Ending kEndings[] = {
    {".lora_A.weight", Part::down},
    {".lora_B.weight", Part::up},
    {".lora_down.weight", Part::down},
    {".lora_up.weight", Part::up},
    {".lora.down.weight", Part::down},
    {".lora.up.weight", Part::up},
    {"_lora.down.weight", Part::down},
    {"_lora.up.weight", Part::up},
    {".lora_linear_layer.down.weight", Part::down},
    {".lora_linear_layer.up.weight", Part::up},
    {".alpha", Part::alpha},
};

// Adapters that are no LoRA, by what their tensors' names hold.
struct OtherKind {
  std::string_view mark, name;
};
constexpr OtherKind kOtherKinds[] = {{"hada_w", "LoHa"},
                                     {"lokr_w", "LoKr"},
                                     {"dora_scale", "DoRA"},
                                     {"lora_magnitude", "DoRA"},
                                     {".oft_", "OFT"},
                                     {"glora", "GLoRA"},
                                     {".lora_B.bias", "LoRA with biases"}};

// One layer of the file: the names of its tensors, empty where there is none.
struct Pair {
  std::string down, up, alpha;
};

tl::unexpected<Error> refuse(const std::filesystem::path& path, ErrorCode code, std::string_view message) {
  return fail(code, fmt::format("{}: {}", path.string(), message), path.string());
}

void replace(std::string& text, std::string_view from, std::string_view to) {
  if (const std::size_t at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
}

// Diffusers of 2023 kept a LoRA in "processors" of attention, under names of their own.
std::string modern(std::string name) {
  replace(name, ".processor.", ".");
  if (name.find(".self_attn.to_") == std::string::npos) return name;
  replace(name, ".to_out", ".out_proj");
  for (const char letter : {'q', 'k', 'v'})
    replace(name, fmt::format(".to_{}", letter), fmt::format(".{}_proj", letter));
  return name;
}

// The file's tensors by layer.
Result<std::map<std::string, Pair>> pairs_of(const std::filesystem::path& path, const Checkpoint& file) {
  std::map<std::string, Pair> pairs;
  for (const weights::TensorInfo& tensor : file.list()) {
    const std::string& name = tensor.name;
    for (const OtherKind& kind : kOtherKinds) {
      if (name.find(kind.mark) != std::string::npos)
        return refuse(path, ErrorCode::unsupported,
                      fmt::format("is a {}, which is not read here", kind.name));
    }
    const auto ending =
        std::ranges::find_if(kEndings, [&](const Ending& known) { return name.ends_with(known.text); });
    if (ending == std::end(kEndings))
      return refuse(path, ErrorCode::unsupported, fmt::format("tensor '{}' is none of a LoRA's", name));
    Pair& pair = pairs[modern(name.substr(0, name.size() - ending->text.size()))];
    std::string& place = ending->part == Part::down ? pair.down
                         : ending->part == Part::up ? pair.up
                                                    : pair.alpha;
    if (!place.empty())
      return refuse(path, ErrorCode::data_loss,
                    fmt::format("tensors '{}' and '{}' are of one layer", place, name));
    place = name;
  }
  if (pairs.empty()) return refuse(path, ErrorCode::unsupported, "holds no LoRA");
  return pairs;
}

// The sizes without those of 1 at the end: a convolution of one pixel is a matrix.
std::vector<std::int64_t> trimmed(std::vector<std::int64_t> shape) {
  while (shape.size() > 2 && shape.back() == 1) shape.pop_back();
  return shape;
}

// Whether down [r, in…] and up [out, r] change a weight of [out', in…], of which `up` has rows from first_row
// on.
bool fits(const std::vector<std::int64_t>& down, const std::vector<std::int64_t>& up,
          const std::vector<std::int64_t>& weight, std::int64_t first_row) {
  if (down.size() < 2 || up.size() != 2 || up[1] != down[0] || down[0] < 1) return false;
  const std::vector<std::int64_t> layer = trimmed(weight);
  return std::equal(down.begin() + 1, down.end(), layer.begin() + 1, layer.end()) &&
         first_row + layer[0] <= up[0];
}

Result<double> alpha_of(const std::filesystem::path& path, Checkpoint& file, const std::string& name) {
  if (!std::ranges::all_of(*file.shape(name), [](std::int64_t size) { return size == 1; }))
    return refuse(path, ErrorCode::data_loss, fmt::format("'{}' must be one number", name));
  const double alpha = file.tensor(name, *file.shape(name), at::kDouble, at::kCPU).item<double>();
  if (!std::isfinite(alpha))
    return refuse(path, ErrorCode::data_loss, fmt::format("'{}' is not finite", name));
  return alpha;
}

}  // namespace

Result<LoraFile> LoraFile::open(const std::filesystem::path& path, const LoraNames& names,
                                const ChangeableLayers& layers) {
  TRY(const auto file, Checkpoint::open_file(path));
  TRY(const auto pairs, pairs_of(path, *file));
  auto scales = LoraScales::read(file->metadata());
  if (!scales) return refuse(path, scales.error().code, scales.error().message);
  LoraFile lora;
  lora.path_ = path;
  for (const auto& [name, pair] : pairs) {
    const std::vector<LoraPlace>* places = names.find(name);
    if (!places) places = names.find(name + ".0");  // "to_out" of Diffusers in 2023
    if (!places)
      return refuse(path, ErrorCode::unsupported, fmt::format("layer '{}' is not one of this model's", name));
    if (pair.down.empty() || pair.up.empty())
      return refuse(path, ErrorCode::data_loss,
                    fmt::format("layer '{}' has but one of its two matrices", name));
    const std::vector<std::int64_t> down = trimmed(*file->shape(pair.down)),
                                    up = trimmed(*file->shape(pair.up));
    std::int64_t rows_used = 0;
    for (const LoraPlace& place : *places) {
      const std::vector<std::int64_t>& weight = layers.at(place.layer);
      if (!fits(down, up, weight, place.first_row)) {
        return refuse(
            path, ErrorCode::unsupported,
            fmt::format("layer '{}' has matrices of [{}] and [{}], for a weight of [{}] in this model", name,
                        fmt::join(*file->shape(pair.down), ", "), fmt::join(*file->shape(pair.up), ", "),
                        fmt::join(weight, ", ")));
      }
      LoraChange change{.place = place, .down = pair.down, .up = pair.up, .rows = weight.front(), .scale = 1};
      if (pair.alpha.empty()) {
        change.scale = scales->of(place.layer);
      } else {
        TRY(const double alpha, alpha_of(path, *file, pair.alpha));
        change.scale = alpha / static_cast<double>(down.front());
      }
      rows_used = std::max(rows_used, place.first_row + change.rows);
      lora.changes_.push_back(std::move(change));
    }
    if (rows_used != up.front())
      return refuse(path, ErrorCode::unsupported,
                    fmt::format("layer '{}' has {} outputs, in this model {}", name, up.front(), rows_used));
  }
  return lora;
}

Result<std::shared_ptr<const nn::Lora>> LoraFile::load(const LayerPrefixes& prefixes, at::ScalarType dtype,
                                                       at::Device device) const {
  TRY(const auto file, Checkpoint::open_file(path_));
  auto lora = std::make_shared<nn::Lora>();
  for (const LoraChange& change : changes_) {
    const auto *const down = file->shape(change.down), *const up = file->shape(change.up);
    if (!down || !up || up->front() < change.place.first_row + change.rows)
      return refuse(path_, ErrorCode::data_loss, "is another file than when the server started");
    at::Tensor rows = file->tensor(change.up, *up, dtype, device)
                          .flatten(1)
                          .narrow(0, change.place.first_row, change.rows);  // [out, r]
    if (change.place.halves_swapped) {
      const auto halves = rows.chunk(2);
      rows = at::cat({halves[1], halves[0]});
    }
    const std::size_t dot = change.place.layer.find('.');
    lora->emplace(prefixes.at(change.place.layer.substr(0, dot)) + change.place.layer.substr(dot),
                  nn::LowRank{.down = file->tensor(change.down, *down, dtype, device),
                              .up = rows.contiguous(),
                              .scale = change.scale});
  }
  return std::shared_ptr<const nn::Lora>(std::move(lora));
}

}  // namespace diffused::pipelines
