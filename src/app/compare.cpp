// `diffused compare MODEL PROMPT`: the same picture by our own engine and by Diffusers itself, and how far
// they are from each other.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "app/commands.h"
#include "app/models.h"
#include "app/one_job.h"
#include "app/request_options.h"

namespace diffused::app {
namespace {

struct CompareOptions {
  ModelOptions model;
  std::string model_text, size;
  GenerateRequest request;
  std::uint64_t seed = 0;
};

// What one engine made.
struct Side {
  Image image;
  GenerateRequest request;  // resolved
  double load_seconds = 0, picture_seconds = 0;
  std::uint64_t bytes = 0;  // that the model has in memory
};

Result<Side> make(const ModelArgument& model, CompareOptions options, const std::string& engine) {
  options.model.engine.engines = {engine};
  const SystemClock clock;
  const SteadyTime started = clock.now();
  TRY(std::shared_ptr<Pipeline> pipeline, load_model(model, options.model));
  Side side;
  side.load_seconds = std::chrono::duration<double>(clock.now() - started).count();
  side.bytes = pipeline->info().weight_bytes();
  TRY(side.request, pipeline->resolve(options.request));
  TRY(Made made, make_pictures({model.name, pipeline}, options.request, options.model, /*draw_bar=*/false));
  side.picture_seconds = made.timings.total_seconds;
  side.image = std::move(made.images.front().image);
  return side;
}

struct Difference {
  int largest = 0;
  double mean = 0;
};

// Of pictures of equal size.
Difference difference(const Image& a, const Image& b) {
  Difference found;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) {
    const int apart = std::abs(static_cast<int>(a.pixels[i]) - static_cast<int>(b.pixels[i]));
    found.largest = std::max(found.largest, apart);
    found.mean += apart;
  }
  found.mean /= static_cast<double>(std::max<std::size_t>(1, a.pixels.size()));
  return found;
}

void print_side(const char* engine, const Side& side) {
  fmt::print("{:<10} {:>4}x{:<4}  {:>8.2f} s to load  {:>8.2f} s for the picture  {:>9.1f} MB\n", engine,
             side.image.width, side.image.height, side.load_seconds, side.picture_seconds, side.bytes / 1e6);
}

Result<void> compare(CompareOptions options) {
  TRY_VOID(parse_size(options.size, options.request));
  if (options.model.load.dtype.empty()) options.model.load.dtype = "fp32";
  options.request.seeds = {options.seed};
  TRY(const ModelArgument model, find_model(options.model_text));
  TRY(const Side native, make(model, options, "native"));
  // A folder may have defaults of its own, which Diffusers does not know.
  options.request.width = native.request.width;
  options.request.height = native.request.height;
  options.request.num_inference_steps = native.request.num_inference_steps;
  options.request.guidance_scale = native.request.guidance_scale;
  TRY(const Side diffusers, make(model, options, "diffusers"));
  print_side("native", native);
  print_side("diffusers", diffusers);
  if (native.image.width != diffusers.image.width || native.image.height != diffusers.image.height)
    return fail(ErrorCode::internal, "the pictures differ in size");
  const Difference apart = difference(native.image, diffusers.image);
  fmt::print("largest difference {} of 255, mean {:.4f}\n", apart.largest, apart.mean);
  return {};
}

}  // namespace

void add_compare(CLI::App& program, int& exit_status) {
  const auto options = std::make_shared<CompareOptions>();
  CLI::App* command =
      program.add_subcommand("compare", "Make one picture natively and in Diffusers, and compare them");
  command
      ->add_option("MODEL", options->model_text,
                   "a Diffusers folder, or owner/name in the cache of the Hugging Face hub")
      ->required();
  command->add_option("PROMPT", options->request.prompt, "what the picture shows")->required();
  add_request_options(*command, options->request);
  command->add_option("--size", options->size, "WIDTHxHEIGHT in pixels (default: the model's own)");
  command->add_option("--seed", options->seed, "of the noise")->capture_default_str();
  add_model_options(*command, options->model);
  command->callback([options, &exit_status] {
    if (const auto done = compare(*options); !done) exit_status = report(done.error());
  });
}

}  // namespace diffused::app
