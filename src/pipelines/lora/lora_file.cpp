#include "pipelines/lora/lora_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/log.h"
#include "pipelines/lora/lora_scales.h"
#include "tokenizers/unicode.h"
#include "weights/checkpoint.h"

namespace diffused::pipelines {
namespace {

using weights::Checkpoint;

tl::unexpected<Error> refuse(const std::filesystem::path& path, ErrorCode code, std::string_view message) {
  return fail(code, fmt::format("{}: {}", path.string(), message), path.string());
}

Result<double> alpha_of(const std::filesystem::path& path, Checkpoint& file, const std::string& name) {
  if (!std::ranges::all_of(*file.shape(name), [](std::int64_t size) { return size == 1; }))
    return refuse(path, ErrorCode::data_loss, fmt::format("'{}' must be one number", name));
  const double alpha = file.tensor(name, *file.shape(name), at::kDouble, at::kCPU).item<double>();
  if (!std::isfinite(alpha))
    return refuse(path, ErrorCode::data_loss, fmt::format("'{}' is not finite", name));
  return alpha;
}

// What is left out of a file, for the log.
struct LeftOut {
  std::vector<std::string> names;
  std::string why;  // of the first
  void add(const std::string& name, std::string reason) {
    if (names.empty()) why = std::move(reason);
    names.push_back(name);
  }
};

// A layer of the file that the model has.
struct Known {
  const std::string* name;
  const LoraTensors* tensors;
  const LoraMeaning* meaning;
  bool in_denoiser() const { return !meaning->places.front().layer.starts_with("text_encoder"); }
};

// A file may name layers in two ways; Diffusers then reads those of one, and which it is depends on the
// family. Returns whether this one is read, when the denoiser's best spelling in the file is `best`.
bool is_read(const Known& layer, LoraSpelling best, LoraReading reading, bool has_downs) {
  const LoraSpelling spelling = layer.meaning->spelling;
  if (reading == LoraReading::every_name) return true;
  if (reading == LoraReading::flux) {
    if (best == LoraSpelling::own && has_downs) return layer.in_denoiser() && spelling == LoraSpelling::own;
    return best != LoraSpelling::flat || !layer.in_denoiser() || spelling <= LoraSpelling::flat;
  }
  if (best == LoraSpelling::own) return spelling == LoraSpelling::own;
  return best != LoraSpelling::flat || spelling != LoraSpelling::makers_block;
}

// The layers of the file that are read, sorted by name.
std::vector<Known> known_layers(const LoraGroups& groups, const LoraNames& names, LeftOut& left_out) {
  std::vector<Known> found;
  LoraSpelling best = LoraSpelling::makers_block;
  bool has_downs = false;
  for (const auto& [name, tensors] : groups.layers) {
    const LoraMeaning* meaning = names.find(name);
    if (!meaning) meaning = names.find(name + ".0");  // "to_out" of Diffusers in 2023
    if (!meaning) {
      left_out.add(name, fmt::format("layer '{}' is not one of this model's", name));
      continue;
    }
    found.push_back({&name, &tensors, meaning});
    if (found.back().in_denoiser()) best = std::min(best, meaning->spelling);
    const auto down = tensors.find(LoraPart::down);
    has_downs = has_downs || (down != tensors.end() && down->second.ends_with(".lora_down.weight"));
  }
  std::erase_if(found, [&](const Known& layer) {
    if (is_read(layer, best, names.reading(), has_downs)) return false;
    left_out.add(*layer.name, fmt::format("layer '{}' is there under another name as well", *layer.name));
    return true;
  });
  return found;
}

// Of FLUX's files Diffusers leaves out changes of biases and of whole weights.
LoraTensors without_differences(LoraTensors tensors, LeftOut& left_out) {
  for (const LoraPart part : {LoraPart::diff, LoraPart::diff_bias}) {
    const auto found = tensors.find(part);
    if (found == tensors.end()) continue;
    left_out.add(found->second, fmt::format("tensor '{}' is not read in LoRAs of FLUX", found->second));
    tensors.erase(found);
  }
  return tensors;
}

LoraSpelling rank_of(LoraSpelling spelling) {
  return spelling == LoraSpelling::makers ? LoraSpelling::flat : spelling;
}

bool changes_anything(const LoraTensors& tensors) {
  return std::ranges::any_of(tensors, [](const auto& tensor) { return tensor.first != LoraPart::alpha; });
}

Result<double> scale_of(const std::filesystem::path& path, Checkpoint& file, const LoraChange& change,
                        const LoraScales& scales) {
  const std::int64_t rank = rank_of(file, change.tensors);
  const auto alpha = change.tensors.find(LoraPart::alpha);
  if (rank == 0) return 1.0;
  if (alpha == change.tensors.end()) return scales.of(change.place.layer);
  TRY(const double value, alpha_of(path, file, alpha->second));
  return value / static_cast<double>(rank);
}

std::string alias_of(const std::map<std::string, std::string>& metadata) {
  const auto name = metadata.find("ss_output_name");
  return name == metadata.end() ? std::string() : tokenizers::valid_utf8(name->second);
}

}  // namespace

Result<void> LoraFile::add(Checkpoint& file, const std::string& name, const LoraMeaning& meaning,
                           const LoraTensors& tensors, const LoraContext& context) {
  std::int64_t outputs = 0, used = 0;
  for (const LoraPlace& place : meaning.places) {
    LoraChange change{
        .name = name, .place = place, .tensors = tensors, .weight = context.layers.at(place.layer)};
    auto found = outputs_of(file, change, context.names.reading() == LoraReading::flux);
    if (!found) return refuse(path_, found.error().code, found.error().message);
    outputs = *found;
    used = std::max(used, place.first_row + change.weight.front());
    TRY(change.scale, scale_of(path_, file, change, context.scales));
    // Of two names of one layer the better one counts, and of equal ones the later, as in Diffusers; those of
    // the network's ends are no worse for being the makers'.
    const auto [kept, inserted] = changes_.try_emplace(place.layer, Kept{meaning.spelling, change});
    if (!inserted && rank_of(meaning.spelling) <= rank_of(kept->second.spelling))
      kept->second = {meaning.spelling, change};
  }
  if (used == outputs) return {};
  return refuse(path_, ErrorCode::unsupported,
                fmt::format("layer '{}' has {} outputs, in this model {}", name, outputs, used));
}

Result<LoraFile> LoraFile::open(const std::filesystem::path& path, const LoraNames& names,
                                const ChangeableLayers& layers) {
  TRY(const auto file, Checkpoint::open_file(path));
  const LoraGroups groups = group_lora_tensors(*file);
  auto scales = LoraScales::read(file->metadata());
  if (!scales) return refuse(path, scales.error().code, scales.error().message);
  LoraFile lora;
  lora.path_ = path;
  lora.alias_ = alias_of(file->metadata());
  LeftOut left_out;
  for (const Known& layer : known_layers(groups, names, left_out)) {
    const LoraTensors tensors =
        names.reading() == LoraReading::flux ? without_differences(*layer.tensors, left_out) : *layer.tensors;
    if (!changes_anything(tensors)) continue;
    TRY_VOID(lora.add(*file, *layer.name, *layer.meaning, tensors, {names, layers, *scales}));
  }
  for (const std::string& name : groups.unknown) {
    const std::string_view kind = other_adapter(name);
    left_out.add(name, kind.empty() ? fmt::format("tensor '{}' is none of a LoRA's", name)
                                    : fmt::format("is a {}, which is not read here", kind));
  }
  if (lora.changes_.empty())
    return refuse(path, ErrorCode::unsupported, left_out.names.empty() ? "holds no LoRA" : left_out.why);
  if (!left_out.names.empty()) {
    log(LogLevel::warning, "lora_read_in_part",
        {{"file", tokenizers::valid_utf8(path.string())},
         {"left_out", left_out.names.size()},
         {"first", left_out.why}});
  }
  return lora;
}

Result<std::shared_ptr<const nn::Lora>> LoraFile::load(const LoadedWeights& model, LoraDevice device) const {
  TRY(const auto file, Checkpoint::open_file(path_));
  auto lora = std::make_shared<nn::Lora>();
  for (const auto& [layer, kept] : changes_) {
    const LoraChange& change = kept.change;
    const bool there = std::ranges::all_of(
        change.tensors, [&](const auto& tensor) { return file->shape(tensor.second) != nullptr; });
    const auto outputs = there ? outputs_of(*file, change, /*pads=*/true) : Result<std::int64_t>(0);
    if (!there || !outputs)
      return refuse(path_, ErrorCode::data_loss, "is another file than when the server started");
    const std::size_t dot = layer.find('.');
    const std::string component = layer.substr(0, dot), inside = layer.substr(dot);
    const auto weight_of = [&] {
      return model.checkpoints.at(component)->tensor(inside.substr(1) + ".weight", change.weight, at::kFloat,
                                                     at::kCPU);
    };
    lora->emplace(model.prefixes.at(component) + inside, read_change(*file, change, device, weight_of));
  }
  return std::shared_ptr<const nn::Lora>(std::move(lora));
}

}  // namespace diffused::pipelines
