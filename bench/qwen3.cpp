// Our side of `./dev bench qwen3`: bench_qwen3 FOLDER klein|z_image THREADS [int8] loads FOLDER/text_encoder,
// FOLDER/transformer and FOLDER/vae, reads the tensors of FOLDER/inputs.safetensors and obeys "prompt",
// "step" (one denoiser call for one row, with the modulations of its timestep, which the program computes for
// several steps at once) and "decode".
#include "models/qwen3.h"
#include "contestant.h"
#include "models/autoencoder_kl.h"
#include "models/autoencoder_kl_flux2.h"
#include "models/flux2_transformer.h"
#include "models/z_image_transformer.h"

namespace {

using namespace diffused;
using Work = std::function<at::Tensor()>;
using Inputs = std::function<at::Tensor(const std::string& name, std::size_t dimensions)>;

constexpr const char* kStem = "diffusion_pytorch_model";
constexpr std::int64_t kKleinSide = 32;  // tokens

// The networks, and what is done with them once the inputs are there.
struct Loaded {
  std::shared_ptr<const models::Qwen3> text;
  std::function<Work(const Inputs&)> step, decode;
};

template <typename Autoencoder, typename Config>
std::function<Work(const Inputs&)> decoding(const std::filesystem::path& folder) {
  const std::shared_ptr<const models::Autoencoder> vae =
      bench::load<Autoencoder>(folder / "vae", kStem, bench::read_config<Config>(folder / "vae"));
  return [vae](const Inputs& input) -> Work {
    return [vae, latents = input("decoded", 4)] {
      at::Tensor x = latents;
      const std::size_t stages = vae->decode_flops(x.size(2), x.size(3)).size();
      for (std::size_t stage = 0; stage < stages; ++stage) x = vae->decode_stage(stage, x);
      return x;
    };
  };
}

std::function<Work(const Inputs&)> klein_step(const std::filesystem::path& folder, nn::LinearFormat format) {
  auto config = bench::read_config<models::Flux2TransformerConfig>(folder / "transformer");
  config.block_format = format;
  const std::shared_ptr<const models::Flux2Transformer> transformer =
      bench::load<models::Flux2Transformer>(folder / "transformer", kStem, config);
  return [transformer](const Inputs& input) -> Work {
    return [transformer, image = input("image", 3), timestep = input("timestep", 1),
            context = transformer->embed_context(input("text", 3))] {
      return transformer->forward(image, {{.rows = kKleinSide, .columns = kKleinSide}}, context,
                                  transformer->modulations(timestep, {}));
    };
  };
}

std::function<Work(const Inputs&)> z_image_step(const std::filesystem::path& folder,
                                                nn::LinearFormat format) {
  auto config = bench::read_config<models::ZImageTransformerConfig>(folder / "transformer");
  config.block_format = format;
  const std::shared_ptr<const models::ZImageTransformer> transformer =
      bench::load<models::ZImageTransformer>(folder / "transformer", kStem, config);
  return [transformer](const Inputs& input) -> Work {
    return [transformer, image = input("image", 4), timestep = input("timestep", 1).to(at::kFloat),
            context = transformer->embed_context(input("text", 3))] {
      return transformer->forward(image, context, transformer->modulations(timestep));
    };
  };
}

Loaded load(const std::filesystem::path& folder, bool klein, nn::LinearFormat format) {
  auto text = bench::read_config<models::Qwen3Config>(folder / "text_encoder");
  text.taps = {text.num_hidden_layers};
  return {.text = bench::load<models::Qwen3>(folder / "text_encoder", "model", text),
          .step = klein ? klein_step(folder, format) : z_image_step(folder, format),
          .decode = klein ? decoding<models::AutoencoderKlFlux2, models::AutoencoderKlFlux2Config>(folder)
                          : decoding<models::AutoencoderKl, models::AutoencoderKlConfig>(folder)};
}

}  // namespace

int main(int count, char** arguments) {
  CHECK_WITH(count == 4 || count == 5, "usage: bench_qwen3 FOLDER klein|z_image THREADS [int8]");
  const std::filesystem::path folder = arguments[1];
  bench::prepare_process(std::atoi(arguments[3]));
  const c10::InferenceMode inference;
  const auto begin = bench::Clock::now();
  const Loaded loaded = load(folder, arguments[2] == std::string("klein"),
                             count == 5 ? nn::LinearFormat::int8 : nn::LinearFormat::plain);
  const double load_seconds = bench::seconds_since(begin);

  const auto inputs = bench::open(folder, "inputs");
  const Inputs input = [&](const std::string& name, std::size_t dimensions) {
    return inputs->tensor(name, std::vector<std::int64_t>(dimensions, -1), at::kBFloat16, at::kCPU);
  };
  const at::Tensor ids = inputs->tensor("ids", {1, -1}, at::kLong, at::kCPU);
  bench::obey(load_seconds, {{"prompt", [&] { return loaded.text->forward(ids, ids.size(1)); }},
                             {"step", loaded.step(input)},
                             {"decode", loaded.decode(input)}});
}
