// Our side of `./dev bench text`: bench_text FOLDER THREADS loads FOLDER/clip_l, clip_g and t5, and obeys
// "prompt": all three for one prompt, the token ids of FOLDER/inputs.safetensors.
#include "contestant.h"
#include "models/clip_text.h"
#include "models/t5.h"

int main(int count, char** arguments) {
  using namespace diffused;
  CHECK_WITH(count == 3, "usage: bench_text FOLDER THREADS");
  const std::filesystem::path folder = arguments[1];
  bench::prepare_process(std::atoi(arguments[2]));
  const c10::InferenceMode inference;

  const auto begin = bench::Clock::now();
  const auto clip = [&](const char* name) {
    auto config = bench::read_config<models::ClipTextConfig>(folder / name);
    config.with_projection = true;
    return bench::load<models::ClipText>(folder / name, "model", config);
  };
  const auto clip_l = clip("clip_l"), clip_g = clip("clip_g");
  const auto t5 = bench::load<models::T5Encoder>(folder / "t5", "model",
                                                 bench::read_config<models::T5Config>(folder / "t5"));
  const double load_seconds = bench::seconds_since(begin);

  const auto inputs = bench::open(folder, "inputs");
  const auto ids = [&](const char* name) { return inputs->tensor(name, {1, -1}, at::kLong, at::kCPU); };
  const at::Tensor clip_ids = ids("clip_ids"), t5_ids = ids("t5_ids");
  bench::obey(load_seconds,
              {{"prompt", [&] {
                  const auto l = clip_l->forward(clip_ids), g = clip_g->forward(clip_ids);
                  return at::cat({l.penultimate().flatten(), l.pooled.flatten(), g.penultimate().flatten(),
                                  g.pooled.flatten(), t5->forward(t5_ids).flatten()});
                }}});
}
