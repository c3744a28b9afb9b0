// What a checkpoint in one file says of itself, and what is wrong with one that cannot be served. That its
// pictures are right is for tests/parity/test_single_files.py.
#include "pipelines/single_file/single_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "pipelines/tiny_model.h"
#include "support/safetensors.h"

namespace diffused::pipelines {
namespace {

using test::NamedTensors;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t kWidth = 16, kHead = 8;

void add_layer(NamedTensors& tensors, const std::string& name, std::int64_t in, std::int64_t out) {
  tensors.emplace_back(name + ".weight", at::arange(out * in, at::kFloat).view({out, in}));
  tensors.emplace_back(name + ".bias", at::arange(out, at::kFloat));
}

// A denoiser of FLUX with one block of one stream, small and complete.
NamedTensors tiny_flux() {
  NamedTensors tensors;
  add_layer(tensors, "img_in", 64, kWidth);
  add_layer(tensors, "txt_in", 24, kWidth);
  add_layer(tensors, "time_in.in_layer", 256, kWidth);
  add_layer(tensors, "time_in.out_layer", kWidth, kWidth);
  add_layer(tensors, "vector_in.in_layer", 12, kWidth);
  add_layer(tensors, "vector_in.out_layer", kWidth, kWidth);
  add_layer(tensors, "single_blocks.0.modulation.lin", kWidth, 3 * kWidth);
  add_layer(tensors, "single_blocks.0.linear1", kWidth, 7 * kWidth);
  add_layer(tensors, "single_blocks.0.linear2", 5 * kWidth, kWidth);
  tensors.emplace_back("single_blocks.0.norm.query_norm.scale", at::ones({kHead}));
  tensors.emplace_back("single_blocks.0.norm.key_norm.scale", at::ones({kHead}));
  add_layer(tensors, "final_layer.linear", kWidth, 64);
  add_layer(tensors, "final_layer.adaLN_modulation.1", kWidth, 2 * kWidth);
  return tensors;
}

// A checkpoint on disk.
class File {
 public:
  explicit File(const NamedTensors& tensors) { write_file(path(), test::safetensors_file(tensors)); }
  std::filesystem::path path() const { return folder_.path() / "model.safetensors"; }

  Error refusal() const {
    const auto file = open_single_file(path());
    EXPECT_FALSE(file);
    if (file) return {};
    EXPECT_EQ(file.error().field, path().string());
    EXPECT_THAT(file.error().message, HasSubstr("model.safetensors: "));
    EXPECT_THAT(file.error().message, Not(HasSubstr("\n")));
    return file.error();
  }

 private:
  TemporaryFolder folder_;
};

NamedTensors without(NamedTensors tensors, const std::string& name) {
  std::erase_if(tensors, [&name](const auto& tensor) { return tensor.first == name; });
  return tensors;
}

NamedTensors with(NamedTensors tensors, const std::string& name, at::Tensor tensor) {
  tensors = without(std::move(tensors), name);
  tensors.emplace_back(name, std::move(tensor));
  return tensors;
}

TEST(SingleFile, TellsKindAndConfigByItsTensors) {
  const File file(tiny_flux());
  const SingleFile flux = open_single_file(file.path()).value();
  EXPECT_EQ(flux.class_name, "FluxPipeline");
  EXPECT_EQ(flux.components.size(), 1u);
  const FileComponent& transformer = flux.components.at("transformer");
  EXPECT_EQ(transformer.class_name, "FluxTransformer2DModel");
  EXPECT_EQ(boost::json::value(transformer.told), boost::json::parse(R"({
    "patch_size": 1, "in_channels": 64, "out_channels": 64, "num_layers": 0, "num_single_layers": 1,
    "attention_head_dim": 8, "num_attention_heads": 2, "joint_attention_dim": 24, "pooled_projection_dim": 12,
    "guidance_embeds": false})"));
  EXPECT_EQ(flux.scheduler.at("shift"), 1.0);  // no guidance embedding: schnell
}

TEST(SingleFile, TellsFluxFillByWhatItSees) {
  NamedTensors tensors = with(tiny_flux(), "img_in.weight", at::zeros({kWidth, 384}));
  EXPECT_EQ(open_single_file(File(tensors).path()).value().class_name, "FluxFillPipeline");
}

TEST(SingleFile, GivesRowsOfOneTensorSeveralNames) {
  const File file(tiny_flux());
  const auto view = open_single_file(file.path()).value().components.at("transformer").weights;
  const at::Tensor linear = at::arange(7 * kWidth * kWidth, at::kFloat).view({7 * kWidth, kWidth});
  const std::string block = "single_transformer_blocks.0.";
  const auto read = [&view](const std::string& name) {
    return view->tensor(name, {-1, -1}, at::kFloat, at::kCPU);
  };
  EXPECT_TRUE(read(block + "attn.to_q.weight").equal(linear.narrow(0, 0, kWidth)));
  EXPECT_TRUE(read(block + "attn.to_v.weight").equal(linear.narrow(0, 2 * kWidth, kWidth)));
  EXPECT_TRUE(read(block + "proj_mlp.weight").equal(linear.narrow(0, 3 * kWidth, 4 * kWidth)));
  // Scale before shift, the other way round than in the file.
  const at::Tensor norm = at::arange(2 * kWidth * kWidth, at::kFloat).view({2 * kWidth, kWidth});
  EXPECT_TRUE(read("norm_out.linear.weight").equal(norm.roll(kWidth, 0)));
}

TEST(SingleFile, IgnoresWhatOtherProgramsLeaveInIt) {
  NamedTensors tensors = tiny_flux();
  for (const char* const name : {"model_ema.decay", "alphas_cumprod", "text_encoders.clip_l.logit_scale"})
    tensors.emplace_back(name, at::ones({1}));
  const File file(tensors);
  EXPECT_TRUE(open_single_file(file.path()));
}

TEST(SingleFile, RefusesTensorsThatItDoesNotKnow) {
  const File other({{"lora_unet_down.weight", at::ones({2, 2})}});
  EXPECT_EQ(other.refusal().code, ErrorCode::unsupported);
  EXPECT_THAT(other.refusal().message, HasSubstr("no checkpoint of Stable Diffusion, FLUX or Z-Image"));
  EXPECT_THAT(other.refusal().message, HasSubstr("'lora_unet_down.weight'"));
  const File more(with(tiny_flux(), "distilled_guidance_layer.in_proj.weight", at::ones({2, 2})));
  EXPECT_EQ(more.refusal().code, ErrorCode::unsupported);
  EXPECT_THAT(more.refusal().message, HasSubstr("a Chroma, which is not served"));
  const File unknown(with(tiny_flux(), "novel_layer.weight", at::ones({2, 2})));
  EXPECT_THAT(unknown.refusal().message, HasSubstr("tensor 'novel_layer.weight' is not part"));
  EXPECT_THAT(File({}).refusal().message, HasSubstr("no checkpoint of Stable Diffusion, FLUX or Z-Image"));
}

// Files of other kinds, some of which hold a denoiser's names as well.
TEST(SingleFile, SaysWhatTheFileIsInstead) {
  const auto message = [](const NamedTensors& tensors) { return File(tensors).refusal().message; };
  EXPECT_THAT(message({{"control_model.input_hint_block.0.weight", at::ones({2})}}),
              HasSubstr("a ControlNet"));
  EXPECT_THAT(message({{"lora_unet_a.lora_down.weight", at::ones({2, 2})}}),
              HasSubstr("it looks like a LoRA"));
  EXPECT_THAT(message({{"decoder.conv_in.weight", at::ones({2})}}), HasSubstr("an autoencoder, for --vae"));
  EXPECT_THAT(message({{"emb_params", at::ones({2, 2})}}), HasSubstr("a textual inversion"));
}

TEST(SingleFile, LeavesOutPartsThatNobodyNeeds) {
  NamedTensors tensors;
  for (const auto& [name, tensor] : tiny_flux())
    tensors.emplace_back("model.diffusion_model." + name, tensor);
  tensors.emplace_back("model_sampling.sigmas", at::ones({3}));
  tensors.emplace_back("text_encoders.clip_l.text_projection", at::ones({2, 2}));
  tensors.emplace_back("marks", at::ones({3}, at::kUInt32));
  EXPECT_TRUE(open_single_file(File(tensors).path()));
}

TEST(SingleFile, TellsContinuousNoiseLevelsByTheirMarks) {
  // Enough of Stable Diffusion XL to be read; the marks are what counts.
  const auto read = [](NamedTensors marks) {
    const std::string d = "model.diffusion_model.";
    for (const auto& [name, shape] : std::map<std::string, std::vector<std::int64_t>>{
             {"label_emb.0.0.weight", {4, 8}},
             {"input_blocks.0.0.weight", {4, 4, 3, 3}},
             {"out.2.weight", {4, 4, 3, 3}},
             {"input_blocks.1.0.out_layers.3.weight", {4, 4, 3, 3}}})
      marks.emplace_back(d + name, at::ones(shape));
    return open_single_file(File(marks).path()).value();
  };
  const SingleFile playground =
      read({{"edm_mean", at::full({1, 2, 1, 1}, 0.5)}, {"edm_std", at::ones({1, 2, 1, 1})}});
  EXPECT_TRUE(playground.scheduler_marked);
  EXPECT_EQ(playground.scheduler_class, "EDMDPMSolverMultistepScheduler");
  EXPECT_EQ(playground.vae_marked.at("latents_mean"), boost::json::parse("[0.5, 0.5]"));
  const SingleFile cosxl = read({{"edm_vpred.sigma_max", at::full({}, 90)}});
  EXPECT_EQ(cosxl.scheduler_class, "EDMEulerScheduler");
  EXPECT_EQ(cosxl.scheduler_told.at("sigma_max").to_number<double>(), 90);
  EXPECT_FALSE(read({}).scheduler_marked);
}

TEST(SingleFile, RefusesShapesThatContradictEachOther) {
  const auto message = [](const std::string& name, at::Tensor tensor) {
    const File file(with(tiny_flux(), name, std::move(tensor)));
    EXPECT_EQ(file.refusal().code, ErrorCode::data_loss);
    return file.refusal().message;
  };
  EXPECT_THAT(message("img_in.weight", at::ones({4})), HasSubstr("tensor 'img_in.weight' has shape [4]"));
  // Fewer rows than queries, keys and values take.
  EXPECT_THAT(message("single_blocks.0.linear1.weight", at::ones({kWidth, kWidth})),
              HasSubstr("tensor 'single_blocks.0.linear1.weight' has shape [16, 16], which does not split"));
  EXPECT_THAT(message("final_layer.adaLN_modulation.1.bias", at::ones({3})),
              HasSubstr("tensor 'final_layer.adaLN_modulation.1.bias' cannot have shape [3]"));
  const File file(without(tiny_flux(), "txt_in.weight"));
  EXPECT_THAT(file.refusal().message, HasSubstr("tensor 'txt_in.weight' is missing"));
}

TEST(SingleFile, RefusesATruncatedFile) {
  const File file(tiny_flux());
  const std::string bytes = read_file(file.path());
  write_file(file.path(), std::string_view(bytes).substr(0, bytes.size() - 8));
  EXPECT_EQ(file.refusal().code, ErrorCode::data_loss);
  EXPECT_THAT(file.refusal().message, HasSubstr("truncated: tensor 'final_layer.adaLN_modulation.1.bias'"));
}

TEST(SingleFile, NamesWhatItsPartsLack) {
  const File file(tiny_flux());
  const auto refusal = [&file](std::vector<std::string> parts) {
    LoadOptions options{.dtype = "fp32", .variant = ""};
    options.parts = std::move(parts);
    const auto loaded = load_pipeline(file.path(), options);
    EXPECT_FALSE(loaded);
    return loaded ? Error{} : loaded.error();
  };
  EXPECT_EQ(refusal({}).code, ErrorCode::not_found);
  EXPECT_THAT(refusal({}).message, HasSubstr("this FluxPipeline are wanted: name a Diffusers folder"));
  EXPECT_THAT(refusal({(kData / "tiny_sd").string()}).message, HasSubstr("(not "));
  EXPECT_THAT(refusal({(kData / "absent").string()}).message, HasSubstr("absent: no such folder"));
  // Of its class, but empty.
  const TemporaryFolder parts;
  write_file(parts.path() / "model_index.json", R"({"_class_name": "FluxPipeline"})");
  EXPECT_THAT(refusal({parts.path().string()}).message, HasSubstr("names no component 'vae'"));
  write_file(parts.path() / "model_index.json",
             R"({"_class_name": "FluxPipeline", "vae": ["diffusers", "AutoencoderKL"]})");
  EXPECT_THAT(refusal({(kData / "tiny_sd").string(), parts.path().string()}).message,
              HasSubstr("model.safetensors: has no vae, and neither has the folder of --parts"));
}

}  // namespace
}  // namespace diffused::pipelines
