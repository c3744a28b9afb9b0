// Our side of `./dev bench sdxl`: bench_sdxl FOLDER LATENT_SIDE THREADS [int8] loads FOLDER/unet, reads the
// tensors of FOLDER/inputs_SIDE.safetensors and obeys "step": one denoiser call for a guidance pair, without
// what the program computes once per prompt (the keys and values of the text) or for several steps at once.
#include "contestant.h"
#include "models/unet_2d_condition.h"

int main(int count, char** arguments) {
  using namespace diffused;
  CHECK_WITH(count == 4 || count == 5, "usage: bench_sdxl FOLDER LATENT_SIDE THREADS [int8]");
  const std::filesystem::path folder = arguments[1];
  bench::prepare_process(std::atoi(arguments[3]));
  const c10::InferenceMode inference;

  const auto begin = bench::Clock::now();
  auto config = bench::read_config<models::Unet2DConditionConfig>(folder / "unet");
  if (count == 5) config.block_format = nn::LinearFormat::int8;
  const auto unet = bench::load<models::Unet2DCondition>(folder / "unet", "diffusion_pytorch_model", config);
  const double load_seconds = bench::seconds_since(begin);

  const auto inputs = bench::open(folder, std::string("inputs_") + arguments[2]);
  const auto input = [&](const std::string& name, std::size_t dimensions, at::ScalarType dtype) {
    return inputs->tensor(name, std::vector<std::int64_t>(dimensions, -1), dtype, at::kCPU);
  };
  const at::Tensor latents = input("latents", 4, at::kBFloat16);
  const at::Tensor context = unet->embed_context(input("text", 3, at::kBFloat16));
  const at::Tensor modulations = unet->modulations({.timesteps = input("timestep", 1, at::kFloat),
                                                    .guidance = {},
                                                    .pooled = input("pooled", 2, at::kBFloat16),
                                                    .time_ids = input("sizes", 2, at::kFloat)});
  bench::obey(load_seconds, {{"step", [&] { return unet->forward(latents, context, modulations); }}});
}
