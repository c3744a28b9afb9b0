// Files of models, and what other servers say.
#include <boost/json/parse.hpp>
#include <filesystem>

#include "base/check.h"
#include "fuzz/scratch.h"
#include "fuzz/targets.h"
#include "hub/listing.h"
#include "pipelines/lora/lora_file.h"
#include "pipelines/upscaler/upscaler_file.h"
#include "samplers/catalog.h"
#include "storage/s3_keys.h"
#include "storage/s3_listing.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/weighted_prompt.h"
#include "weights/checkpoint.h"
#include "weights/header.h"

namespace diffused::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kText =
    "A red (kitten:1.2) in front of a <|endoftext|> fireplace, \xC3\xA9t\xC3\xA9 </s>";

void use_tokenizer(const tokenizers::Tokenizer& tokenizer) {
  CHECK(tokenizer.encode(kText, 77).ids.size() == 77);
  CHECK(tokenizers::weighted_text(tokenizer, kText, 77).ids.size() == 77);
}

}  // namespace

void safetensors_header(std::string_view bytes) {
  const auto header = weights::read_header(bytes);
  if (!header) return;
  for (const weights::Entry& entry : header->entries)
    CHECK(entry.begin <= entry.end && entry.end <= bytes.size());
}

void lora_file(std::string_view bytes) {
  static const pipelines::ChangeableLayers kLayers{
      {"unet.mid_block.attentions.0.proj_in", {8, 8}},
      {"unet.conv_in", {8, 4, 3, 3}},
      {"text_encoder.text_model.encoder.layers.0.mlp.fc1", {16, 8}}};
  static const pipelines::LoraNames kNames(kLayers);
  const auto file = pipelines::LoraFile::open(scratch().write("lora.safetensors", bytes), kNames, kLayers);
  if (!file) return;
  // Loading is a border that exceptions may cross.
  static const pipelines::LoadedWeights kModel{
      .prefixes = {{"unet", "unet"}, {"text_encoder", "text_encoder"}}};
  try {
    static_cast<void>(file->load(kModel, {}));
  } catch (const std::exception&) {
  }
}

void upscaler_file(std::string_view bytes) {
  try {
    const auto file = pipelines::open_upscaler_file(scratch().write("upscaler.safetensors", bytes));
    if (!file) return;
    CHECK(file->config.features >= 1 && file->config.growth >= 1 && file->config.blocks >= 1);
    CHECK(file->config.scale() >= 1 && file->config.scale() <= 8);
    CHECK(file->config.block_flops() > 0 && file->config.end_flops() > 0);
  } catch (const weights::LoadError&) {  // loading is a border that exceptions may cross
  }
}

void spiece_model(std::string_view bytes) {
  const auto tokenizer = tokenizers::load_t5_tokenizer(scratch().write("spiece.model", bytes).parent_path());
  if (tokenizer) use_tokenizer(**tokenizer);
}

// As each kind of tokenizer.
void tokenizer_json(std::string_view bytes) {
  const fs::path folder = scratch().write("tokenizer.json", bytes).parent_path();
  const auto clip = tokenizers::load_clip_tokenizer(folder);
  if (clip) use_tokenizer(**clip);
  const auto t5 = tokenizers::load_t5_tokenizer(folder);
  if (t5) use_tokenizer(**t5);
  const auto qwen2 = tokenizers::load_qwen2_tokenizer(folder);
  if (qwen2) use_tokenizer(**qwen2);
}

void weighted_prompt(std::string_view bytes) {
  bool before_was_break = true;
  double weight_before = 0;
  const auto pieces = tokenizers::parse_weighted_prompt(bytes);
  for (const tokenizers::WeightedText& piece : pieces) {
    CHECK(piece.is_break == piece.text.empty() ||
          pieces.size() == 1);  // a prompt of nothing is one such piece
    CHECK(piece.is_break || before_was_break || piece.weight != weight_before);
    before_was_break = piece.is_break;
    weight_before = piece.weight;
  }
}

// The sampler's name in the first line, the config behind it.
void scheduler_config(std::string_view bytes) {
  const std::size_t end = std::min(bytes.find('\n'), bytes.size());
  boost::system::error_code error;
  const auto config =
      boost::json::parse(boost::json::string_view(bytes.substr(std::min(end + 1, bytes.size()))), error);
  if (error || !config.is_object()) return;
  const auto sampler = samplers::make_sampler(std::string(bytes.substr(0, end)), config.get_object());
  if (!sampler)
    CHECK(sampler.error().code == ErrorCode::unsupported || sampler.error().code == ErrorCode::data_loss);
}

void s3_listing(std::string_view bytes) {
  const std::string xml(bytes);
  static_cast<void>(storage::read_listing(xml));
  CHECK(storage::error_word(xml).size() <= 64);
}

void s3_key_file(std::string_view bytes) {
  const auto keys = storage::S3KeyFile{scratch().write("credentials", bytes)}.read();
  if (!keys) CHECK(keys.error().code == ErrorCode::invalid_argument);
}

void hub_listing(std::string_view bytes) {
  const auto listing = hub::parse_listing(bytes);
  if (!listing) return;
  static const boost::json::object kIndex{{"vae", {"diffusers", "AutoencoderKL"}},
                                          {"tokenizer", {"transformers", "CLIPTokenizer"}}};
  const auto files = hub::choose_files(*listing, kIndex, "fp16");
  if (!files) return;
  for (const hub::HubFile& file : *files)
    CHECK(!file.path.starts_with('/') && ("/" + file.path + "/").find("/../") == std::string::npos);
}

}  // namespace diffused::fuzz
