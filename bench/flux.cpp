// Our side of `./dev bench flux`: bench_flux FOLDER LATENT_SIDE THREADS [int8] loads FOLDER/transformer,
// reads the tensors of FOLDER/inputs_SIDE.safetensors and obeys "step": one denoiser call for one row, with
// the modulations of its timestep, which the program computes for several steps at once.
#include "contestant.h"
#include "models/flux_transformer.h"

int main(int count, char** arguments) {
  using namespace diffused;
  CHECK_WITH(count == 4 || count == 5, "usage: bench_flux FOLDER LATENT_SIDE THREADS [int8]");
  const std::filesystem::path folder = arguments[1];
  const std::int64_t tokens_a_side = std::atoi(arguments[2]) / 2;
  bench::prepare_process(std::atoi(arguments[3]));
  const c10::InferenceMode inference;

  const auto begin = bench::Clock::now();
  auto config = bench::read_config<models::FluxTransformerConfig>(folder / "transformer");
  if (count == 5) config.block_format = nn::LinearFormat::int8;
  const auto transformer =
      bench::load<models::FluxTransformer>(folder / "transformer", "diffusion_pytorch_model", config);
  const double load_seconds = bench::seconds_since(begin);

  const auto inputs = bench::open(folder, std::string("inputs_") + arguments[2]);
  const auto input = [&](const std::string& name, std::size_t dimensions) {
    return inputs->tensor(name, std::vector<std::int64_t>(dimensions, -1), at::kBFloat16, at::kCPU);
  };
  const at::Tensor image = input("image", 3), context = transformer->embed_context(input("text", 3));
  const models::FluxConditions conditions{
      .timesteps = input("timestep", 1), .guidance = {}, .pooled = input("pooled", 2)};
  bench::obey(load_seconds, {{"step", [&] {
                                return transformer->forward(image, {{tokens_a_side, tokens_a_side}}, context,
                                                            transformer->modulations(conditions));
                              }}});
}
