// Our side of `./dev bench sd3`: bench_sd3 FOLDER LATENT_SIDE THREADS [int8] loads FOLDER/transformer and
// FOLDER/vae, reads the tensors of FOLDER/inputs_SIDE.safetensors and obeys "step" (one denoiser call for
// both rows of guidance, with the modulations of its timestep, which the program computes for several steps
// at once) and "decode".
#include "contestant.h"
#include "models/autoencoder_kl.h"
#include "models/mmdit.h"

int main(int count, char** arguments) {
  using namespace diffused;
  CHECK_WITH(count == 4 || count == 5, "usage: bench_sd3 FOLDER LATENT_SIDE THREADS [int8]");
  const std::filesystem::path folder = arguments[1];
  bench::prepare_process(std::atoi(arguments[3]));
  const c10::InferenceMode inference;

  const auto begin = bench::Clock::now();
  const std::string stem = "diffusion_pytorch_model";
  auto config = bench::read_config<models::MmditConfig>(folder / "transformer");
  if (count == 5) config.block_format = nn::LinearFormat::int8;
  const auto transformer = bench::load<models::Mmdit>(folder / "transformer", stem, config);
  const auto vae = bench::load<models::AutoencoderKl>(
      folder / "vae", stem, bench::read_config<models::AutoencoderKlConfig>(folder / "vae"));
  const double load_seconds = bench::seconds_since(begin);

  const auto inputs = bench::open(folder, std::string("inputs_") + arguments[2]);
  const auto input = [&](const std::string& name, std::size_t dimensions) {
    return inputs->tensor(name, std::vector<std::int64_t>(dimensions, -1), at::kBFloat16, at::kCPU);
  };
  const at::Tensor latents = input("latents", 4), pooled = input("pooled", 2);  // [2, 16, h, w], [2, 2048]
  const at::Tensor timesteps = at::zeros({2});                                  // as the inputs'
  const models::MmditContext context{.tokens = transformer->embed_context(input("text", 3)), .repeats = {}};
  bench::obey(
      load_seconds,
      {{"step",
        [&] { return transformer->forward(latents, context, transformer->modulations(timesteps, pooled)); }},
       {"decode", [&] { return vae->decode(latents.narrow(0, 0, 1)); }}});
}
