// A picture goes through the network in tiles, as Real-ESRGAN's own program cuts it: each sees more than is
// made of it, so that no seam is seen. A unit is one block of one tile.
#include "pipelines/upscaler/upscaler.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/replication_pad2d.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <array>
#include <optional>
#include <utility>

#include "base/check.h"
#include "image/channels.h"
#include "job/request_rules.h"
#include "nn/lora.h"
#include "pipelines/latent_preview.h"
#include "pipelines/loading_border.h"
#include "pipelines/memory_errors.h"
#include "pipelines/model_folder.h"
#include "pipelines/network_store.h"
#include "pipelines/upscaler/tiles.h"
#include "pipelines/upscaler/upscaler_file.h"

namespace diffused::pipelines {
namespace {

using models::RrdbNet;

// Multiples of whatever a network takes as one pixel.
constexpr int kTileSide = 192, kContext = 16;
constexpr int kMadeSideMax = 65'536;  // pixels, of what is made

constexpr std::array<std::pair<const char*, const char*>, 3> kLabels{{
    {"RealESRGAN_x4plus", "R-ESRGAN 4x+"},
    {"RealESRGAN_x4plus_anime_6B", "R-ESRGAN 4x+ Anime6B"},
    {"RealESRGAN_x2plus", "R-ESRGAN 2x+"},
}};

// Only Upscaler touches the fields.
struct UpscaleRow final : Row {
  Unit next() const override {
    if (tile == tiles.size()) return {UnitKind::done, 0, 0};
    const bool last = block + 1 == blocks;
    const double pixels = static_cast<double>(tiles[tile].seen.width) * tiles[tile].seen.height;
    return {UnitKind::step, key, pixels * (last ? last_flops : block_flops)};
  }
  int step() const override { return static_cast<int>(tile); }
  int steps() const override { return static_cast<int>(tiles.size()); }

  std::shared_ptr<const Image> picture;
  std::vector<Tile> tiles;
  std::size_t blocks = 0;
  std::uint64_t key = 0;
  double block_flops = 0, last_flops = 0;  // of a pixel, in a block and in the last with what is behind it

  // Where it stands.
  std::size_t tile = 0, block = 0;
  at::Tensor first, x;  // of the tile: what the network's begin gave, and the blocks so far
  Image made;
};

// [1, 3, height, width] in 0…1 of a part of an RGB picture.
at::Tensor pixels_of(const Image& picture, const Box& box) {
  Image part = cut_out(picture, box);
  return at::from_blob(part.pixels.data(), {1, box.height, box.width, 3}, at::kByte)
      .permute({0, 3, 1, 2})
      .to(at::kFloat)
      .div(255);
}

class Upscaler final : public Pipeline {
 public:
  Upscaler(std::shared_ptr<const RrdbNet> network, PipelineInfo info, at::ScalarType dtype, at::Device device)
      : network_(std::move(network)), info_(std::move(info)), dtype_(dtype), device_(device) {}

  const PipelineInfo& info() const override { return info_; }

  Result<GenerateRequest> resolve(GenerateRequest request) const override {
    if (!request.init_image) return wrong_field("an upscaler needs a picture", "image");
    if (request.n() != 1) return wrong_field("an upscaler makes one picture of one", "n");
    for (const int side : {request.init_image->width, request.init_image->height})
      if (side > kMadeSideMax / info_.enlarges)
        return wrong_field(
            fmt::format("the picture's sides must be {} pixels or less", kMadeSideMax / info_.enlarges),
            "image");
    request.width = request.init_image->width * info_.enlarges;
    request.height = request.init_image->height * info_.enlarges;
    return request;
  }
  double cost_flops(const GenerateRequest& resolved) const override {
    double pixels = 0;
    for (const Tile& tile :
         tiles_of(resolved.init_image->width, resolved.init_image->height, kTileSide, kContext))
      pixels += static_cast<double>(tile.seen.width) * tile.seen.height;
    const auto& config = network_->config();
    return pixels * (static_cast<double>(config.blocks) * config.block_flops() + config.end_flops());
  }
  // Of a whole tile, however small the picture is: nothing is ever refused for it.
  double unit_flops(const GenerateRequest&) const override {
    constexpr double kSeen = kTileSide + 2 * kContext;
    return kSeen * kSeen * (network_->config().block_flops() + network_->config().end_flops());
  }

  Result<std::unique_ptr<Row>> begin(const GenerateRequest& resolved, std::size_t image_index) override {
    CHECK(image_index == 0);
    return with_memory_errors([&]() -> Result<std::unique_ptr<Row>> {
      const auto& config = network_->config();
      auto row = std::make_unique<UpscaleRow>();
      row->picture = std::make_shared<const Image>(to_rgb(*resolved.init_image));
      row->tiles = tiles_of(row->picture->width, row->picture->height, kTileSide, kContext);
      row->blocks = static_cast<std::size_t>(config.blocks);
      row->key = ++rows_begun_;
      row->block_flops = config.block_flops();
      row->last_flops = config.block_flops() + config.end_flops();
      row->made = {*resolved.width, *resolved.height, 3, {}};
      row->made.pixels.resize(row->made.stride() * static_cast<std::size_t>(row->made.height));
      return row;
    });
  }

  void run(std::span<Row* const> rows) override {
    const c10::InferenceMode inference;
    const nn::LoraRows none({});  // it may run inside a unit that has some
    with_memory_errors([&] {
      for (Row* const row : rows) advance(static_cast<UpscaleRow&>(*row));
    });
  }

  // There is nothing to be seen before the end.
  Result<bool> finish_early(Row& row) override { return row.next().kind == UnitKind::done; }
  Result<Image> preview(const Row&) const override {
    return fail(ErrorCode::unavailable, "an upscaler has nothing to show before the end");
  }
  Result<Image> take(Row& row) override { return std::move(static_cast<UpscaleRow&>(row).made); }

 private:
  void advance(UpscaleRow& row) const {
    const Tile& tile = row.tiles[row.tile];
    const at::Tensor first = row.block == 0 ? network_->begin(seen(row)) : row.first;
    at::Tensor x = network_->block(row.block, row.block == 0 ? first : row.x);
    if (row.block + 1 < row.blocks) {
      row.first = first;
      row.x = std::move(x);
      ++row.block;
      return;
    }
    put_in(row.made, made_of(tile, network_->end(first, x)), info_.enlarges * tile.made.left,
           info_.enlarges * tile.made.top);
    row.first.reset();
    row.x.reset();
    row.block = 0;
    ++row.tile;
  }

  // The tile as the network takes it: at its end the picture's last pixels are repeated up to whole ones.
  at::Tensor seen(const UpscaleRow& row) const {
    const at::Tensor pixels = pixels_of(*row.picture, row.tiles[row.tile].seen);
    const std::int64_t multiple = network_->config().unshuffle;
    const auto lacking = [&](std::int64_t side) { return (multiple - side % multiple) % multiple; };
    return at::replication_pad2d(pixels, {0, lacking(pixels.size(3)), 0, lacking(pixels.size(2))})
        .to(device_, dtype_);
  }

  // What is wanted of what the network made of a tile.
  Image made_of(const Tile& tile, const at::Tensor& enlarged) const {
    const int scale = info_.enlarges;
    return to_image(enlarged.narrow(2, scale * (tile.made.top - tile.seen.top), scale * tile.made.height)
                        .narrow(3, scale * (tile.made.left - tile.seen.left), scale * tile.made.width));
  }

  const std::shared_ptr<const RrdbNet> network_;
  const PipelineInfo info_;
  const at::ScalarType dtype_;
  const at::Device device_;
  std::uint64_t rows_begun_ = 0;
};

Result<std::unique_ptr<Pipeline>> read_upscaler(const std::filesystem::path& path,
                                                const LoadOptions& options) {
  const c10::InferenceMode inference;
  TRY(const at::Device device, choose_device(options.device));
  TRY(const at::ScalarType dtype, choose_dtype(options.dtype, device));
  TRY(UpscalerFile file, open_upscaler_file(path));
  const auto store = options.networks ? options.networks : std::make_shared<NetworkStore>();
  const auto [network, facts] = store->load(
      NetworkKind<RrdbNet, models::RrdbNetConfig>{file.config, dtype, device}, file.weights, {}, {});
  PipelineInfo info;
  info.class_name = "RRDBNet";
  info.dtype = dtype_label(dtype);
  info.device = device.str();
  info.parameters = facts.use.parameters;
  info.networks = {{facts.id, facts.use.bytes}};
  info.enlarges = static_cast<int>(file.config.scale());
  return std::make_unique<Upscaler>(network, std::move(info), dtype, device);
}

}  // namespace

std::string upscaler_label(const std::string& stem) {
  for (const auto& [file, label] : kLabels)
    if (stem == file) return label;
  return stem;
}

Result<std::unique_ptr<Pipeline>> load_upscaler(const std::filesystem::path& path,
                                                const LoadOptions& options) {
  return at_loading_border(path, [&] { return read_upscaler(path, options); });
}

}  // namespace diffused::pipelines
