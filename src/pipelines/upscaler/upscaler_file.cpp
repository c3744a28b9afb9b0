#include "pipelines/upscaler/upscaler_file.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <set>
#include <string>

#include "weights/renaming.h"

namespace diffused::pipelines {
namespace {

constexpr int kDoublingsMax = 3, kDenseBlocks = 3, kDenseConvs = 5;

// What the layers are called. The last three are not there in a network that does not enlarge so often.
struct Naming {
  std::string first, blocks;  // blocks: a list
  std::string dense;          // of a block, with the numbers of the dense block and its convolution
  std::string behind;         // the blocks
  std::array<std::string, kDoublingsMax> doublings;
  std::string fine, last;
};

Naming real_esrgan() {
  return {"conv_first", "body",     "rdb{}.conv{}", "conv_body", {"conv_up1", "conv_up2", "conv_up3"},
          "conv_hr",    "conv_last"};
}

Naming later_esrgan() {
  return {"conv_first", "RRDB_trunk", "RDB{}.conv{}", "trunk_conv", {"upconv1", "upconv2", "upconv3"},
          "HRconv",     "conv_last"};
}

// A list of layers, of which those without weights count too: a doubling is three.
std::optional<Naming> first_esrgan(const weights::Renaming& names) {
  const int blocks = names.count("model.1.sub") - 1;  // the last is the convolution behind them
  for (int doublings = 0; doublings <= kDoublingsMax; ++doublings) {
    const std::string last = fmt::format("model.{}", 3 * doublings + 4);
    if (blocks < 1 || !names.has(last + ".weight")) continue;
    Naming naming{"model.0",
                  "model.1.sub",
                  "RDB{}.conv{}.0",
                  fmt::format("model.1.sub.{}", blocks),
                  {},
                  fmt::format("model.{}", 3 * doublings + 2),
                  last};
    for (int i = 0; i < doublings; ++i) naming.doublings.at(i) = fmt::format("model.{}", 3 * i + 3);
    return naming;
  }
  return std::nullopt;
}

std::optional<Naming> naming_of(const weights::Renaming& names) {
  for (Naming naming : {real_esrgan(), later_esrgan()})
    if (names.has(naming.first + ".weight") && names.has_under(naming.blocks + ".0.")) return naming;
  return first_esrgan(names);
}

std::string dense_layer(const Naming& naming, int block, int dense, int conv) {
  return fmt::format("{}.{}.{}", naming.blocks, block, fmt::format(fmt::runtime(naming.dense), dense, conv));
}

bool has_doubling(const weights::Renaming& names, const Naming& naming, int index) {
  const std::string& name = naming.doublings.at(index);
  return !name.empty() && names.has(name + ".weight");
}

models::RrdbNetConfig config_of(const weights::Renaming& names, const Naming& naming) {
  models::RrdbNetConfig config;
  config.features = names.size(naming.first + ".weight", 4, 0);
  config.growth = names.size(dense_layer(naming, 0, 1, 1) + ".weight", 4, 0);
  config.blocks = names.count(naming.blocks);
  if (naming.behind.starts_with(naming.blocks + ".")) --config.blocks;
  config.doublings = 0;
  while (config.doublings < kDoublingsMax && has_doubling(names, naming, static_cast<int>(config.doublings)))
    ++config.doublings;
  const std::int64_t channels = names.size(naming.first + ".weight", 4, 1);
  config.unshuffle = channels == 12 ? 2 : channels == 48 ? 4 : 1;
  return config;
}

void rename(weights::Renaming& names, const Naming& from, const models::RrdbNetConfig& config) {
  const Naming to = real_esrgan();
  names.layer(from.first, to.first);
  for (int i = 0; i < config.blocks; ++i)
    for (int dense = 1; dense <= kDenseBlocks; ++dense)
      for (int conv = 1; conv <= kDenseConvs; ++conv)
        names.layer(dense_layer(from, i, dense, conv), dense_layer(to, i, dense, conv));
  names.layer(from.behind, to.behind);
  for (int i = 0; i < config.doublings; ++i) names.layer(from.doublings.at(i), to.doublings.at(i));
  names.layer(from.fine, to.fine);
  names.layer(from.last, to.last);
}

}  // namespace

Result<UpscalerFile> open_upscaler_file(const std::filesystem::path& path) {
  TRY(const auto checkpoint, weights::Checkpoint::open_file(path));
  std::set<std::string> taken;
  const auto refused = [&](std::string why) {
    return fail(ErrorCode::unsupported, fmt::format("{}: {}", path.string(), why), path.string());
  };
  for (const char* prefix : {"", "params_ema.", "params."}) {
    weights::Renaming names(checkpoint, prefix, taken);
    const auto naming = naming_of(names);
    if (!naming) continue;
    const models::RrdbNetConfig config = config_of(names, *naming);
    rename(names, *naming, config);
    for (const weights::TensorInfo& tensor : checkpoint->list())
      if (tensor.name.starts_with(prefix) && !taken.contains(tensor.name))
        return refused(fmt::format("its tensor '{}' is no part of ESRGAN's network", tensor.name));
    if ((std::int64_t{1} << config.doublings) % config.unshuffle != 0)
      return refused("a network that makes pictures smaller");
    return UpscalerFile{config, names.view()};
  }
  return refused("no upscaler of the kind of ESRGAN or Real-ESRGAN (RRDBNet)");
}

}  // namespace diffused::pipelines
