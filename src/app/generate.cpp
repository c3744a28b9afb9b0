// `diffused generate MODEL PROMPT -o FILE`: one request through the same engine as the server's, so the same
// seed gives the same bytes. A progress bar on stderr, the pictures in files.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "api/openai/uploads.h"
#include "api/picture.h"
#include "app/commands.h"
#include "app/models.h"
#include "app/one_job.h"
#include "app/version.h"
#include "base/files.h"
#include "base/ids.h"
#include "image/channels.h"

namespace diffused::app {
namespace {

constexpr std::size_t kPictureBytesMax = 256 << 20;

struct GenerateOptions {
  ModelOptions model;
  std::string model_text;
  GenerateRequest request;
  std::string output = "out.png";
  std::string size;
  std::string image, mask;  // files; empty: none
  std::vector<std::string> references;
  std::optional<std::uint64_t> seed;
  int n = 1;
  int quality = 100;
  bool quiet = false;
};

Result<Image> read_picture(const std::string& path) {
  TRY(const std::string bytes, read_whole_file(path, kPictureBytesMax));
  auto image = decode_image(bytes, {});
  if (!image) return fail(image.error().code, fmt::format("{}: {}", path, image.error().message));
  return image;
}

// The pictures that the new one is made from.
Result<void> read_source(const GenerateOptions& options, GenerateRequest& request) {
  if (!options.image.empty()) {
    TRY(Image image, read_picture(options.image));
    if (auto mask = options.mask.empty() ? api::mask_within(image) : std::nullopt)
      request.mask = std::make_shared<const Image>(*std::move(mask));
    request.init_image = std::make_shared<const Image>(to_rgb(on_paper(std::move(image))));
  }
  if (!options.mask.empty()) {
    TRY(Image mask, read_picture(options.mask));
    TRY(mask, api::to_mask(std::move(mask), api::MaskMode::automatic));
    request.mask = std::make_shared<const Image>(std::move(mask));
  }
  for (const std::string& path : options.references) {
    TRY(Image reference, read_picture(path));
    request.references.push_back(std::make_shared<const Image>(std::move(reference)));
  }
  return {};
}

// out.png for one picture; out-0.png, out-1.png … for several.
std::filesystem::path file_name(const std::filesystem::path& output, std::size_t index, std::size_t n) {
  if (n == 1) return output;
  return output.parent_path() /
         fmt::format("{}-{}{}", output.stem().string(), index, output.extension().string());
}

Result<void> write_pictures(const GenerateOptions& options, const PipelineInfo& info, const Codec& codec,
                            const GenerateRequest& request, const std::vector<ImageReady>& images) {
  const api::Recipe recipe{request, info, kVersion};
  for (std::size_t i = 0; i < images.size(); ++i) {
    TRY(const api::Picture picture,
        api::encode_picture(codec, options.quality, recipe, images[i].seed, images[i].image));
    const auto path = file_name(options.output, i, images.size());
    std::ofstream file(path, std::ios::binary);
    file.write(picture.bytes->data(), static_cast<std::streamsize>(picture.bytes->size()));
    file.close();
    if (!file) return fail(ErrorCode::invalid_argument, fmt::format("{}: cannot be written", path.string()));
    if (!options.quiet)
      fmt::print(stderr, "{}  {}x{}  seed {}\n", path.string(), picture.width, picture.height, picture.seed);
  }
  return {};
}

Result<void> generate(GenerateOptions options) {
  TRY_VOID(parse_size(options.size, options.request));
  const auto extension = std::filesystem::path(options.output).extension().string();
  const Codec* codec = find_codec(extension.empty() ? "png" : extension.substr(1));
  if (codec == nullptr)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: the file's name must end in .png, .jpg or .webp", options.output));

  TRY_VOID(read_source(options, options.request));
  TRY(const ModelArgument model, find_model(options.model_text));
  TRY(std::shared_ptr<Pipeline> pipeline, load_model(model, options.model));
  options.request.model = model.name;
  const bool sized_by_model = pipeline->info().references_max > 0 && !pipeline->info().image_to_image;
  if (options.request.init_image && !options.request.width && !sized_by_model) {
    const api::Size size = api::size_for_upload(*options.request.init_image, pipeline->info());
    options.request.width = size.width;
    options.request.height = size.height;
  }
  const std::uint64_t seed = options.seed.value_or(random_seed());
  for (int i = 0; i < options.n; ++i) options.request.seeds.push_back(seed + static_cast<std::uint64_t>(i));

  TRY(const Made made, make_pictures({model.name, pipeline}, options.request, options.model,
                                     !options.quiet && isatty(STDERR_FILENO)));
  TRY_VOID(write_pictures(options, pipeline->info(), *codec, options.request, made.images));
  if (!options.quiet)
    fmt::print(stderr, "{:.2f} s: prompt {:.2f}, denoising {:.2f}, decoding {:.2f}\n",
               made.timings.total_seconds, made.timings.encode_seconds, made.timings.denoise_seconds,
               made.timings.decode_seconds);
  return {};
}

// Height and width, or top and left, as two numbers.
void add_pixels(CLI::App& command, const std::string& name, std::optional<std::array<int, 2>>& to,
                const std::string& about) {
  command
      .add_option_function<std::vector<int>>(
          name,
          [&to](const std::vector<int>& sides) {
            to = std::array<int, 2>{sides.at(0), sides.at(1)};
          },
          about)
      ->expected(2);
}

void add_size_options(CLI::App& command, GenerateRequest& request) {
  add_pixels(command, "--original-size", request.original_size,
             "SDXL: HEIGHT WIDTH the picture seems to come from");
  add_pixels(command, "--crops-coords-top-left", request.crops_coords_top_left,
             "SDXL: TOP LEFT where it seems to be cropped");
  add_pixels(command, "--target-size", request.target_size, "SDXL: HEIGHT WIDTH it is meant to have");
  add_pixels(command, "--negative-original-size", request.negative_original_size,
             "SDXL: what --original-size it is not");
  add_pixels(command, "--negative-crops-coords-top-left", request.negative_crops_coords_top_left,
             "SDXL: how it is not cropped");
  add_pixels(command, "--negative-target-size", request.negative_target_size,
             "SDXL: what --target-size it is not");
}

void add_step_options(CLI::App& command, GenerateRequest& request) {
  command.add_option("--sigmas", request.sigmas, "the steps' noise levels, falling")->delimiter(',');
  command.add_option("--timesteps", request.timesteps, "SD, SDXL: the steps' timesteps, falling")
      ->delimiter(',');
  command.add_option("--denoising-start", request.denoising_start,
                     "SDXL: at which share of the way to the picture --image stands, noise and all");
  command.add_option("--denoising-end", request.denoising_end,
                     "SDXL: the share of the way at which to end, for another model to go on");
  command.add_option("--aesthetic-score", request.aesthetic_score,
                     "SDXL's refiner: how well the picture is to please (default: 6)");
  command.add_option("--negative-aesthetic-score", request.negative_aesthetic_score,
                     "SDXL's refiner: the same of the negative prompt (default: 2.5)");
  command.add_option("--eta", request.eta, "of DDIM and TCD: how much noise each step adds, 0 to 1");
  command
      .add_option("--skip-guidance-layers", request.skip_guidance_layers,
                  "SD3: the transformer's blocks that skip-layer guidance leaves out")
      ->delimiter(',');
  command.add_option("--skip-layer-guidance-scale", request.skip_layer_guidance_scale,
                     "SD3: its strength (default: 2.8)");
  command.add_option("--skip-layer-guidance-start", request.skip_layer_guidance_start,
                     "SD3: the share of the steps after which it begins (default: 0.01)");
  command.add_option("--skip-layer-guidance-stop", request.skip_layer_guidance_stop,
                     "SD3: the share of the steps at which it ends (default: 0.2)");
}

}  // namespace

void add_generate(CLI::App& program, int& exit_status) {
  const auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = program.add_subcommand("generate", "Make pictures from one prompt");
  GenerateRequest& request = options->request;
  command
      ->add_option(
          "MODEL", options->model_text,
          "a Diffusers folder, a .safetensors file, or owner/name in the cache of the Hugging Face hub")
      ->required();
  command->add_option("PROMPT", request.prompt, "what the picture shows")->required();
  command->add_option("-o,--output", options->output, "the file; its ending chooses png, jpg or webp")
      ->capture_default_str();
  command->add_option("--negative-prompt", request.negative_prompt, "what it does not show");
  command->add_option("--prompt-2", request.prompt_2, "for the second text encoder");
  command->add_option("--prompt-3", request.prompt_3, "for the third text encoder");
  command->add_option("--negative-prompt-2", request.negative_prompt_2, "for the second text encoder");
  command->add_option("--negative-prompt-3", request.negative_prompt_3, "for the third text encoder");
  command->add_option("--image", options->image, "a file to start from (png, jpg, webp)");
  command->add_option("--mask", options->mask,
                      "a file that says what of --image is repainted: white, or transparent");
  command->add_option("--reference", options->references,
                      "a file to go by, in models that take any (FLUX.2 klein); may be given several times");
  command->add_option("--strength", request.strength,
                      "how far to go from --image, 0 to 1 (default: as Diffusers)");
  command->add_option("--size", options->size,
                      "WIDTHxHEIGHT in pixels (default: that of --image, or the model's own)");
  command->add_option("--steps", request.num_inference_steps, "denoising steps (default: the model's own)");
  command->add_option("--guidance-scale", request.guidance_scale,
                      "how closely to follow the prompt; up to 1: no guidance");
  command->add_option("--guidance-rescale", request.guidance_rescale,
                      "SD, SDXL: 0 to 1, against overexposure by guidance");
  command->add_option("--cfg-normalization", request.cfg_normalization,
                      "Z-Image: how many times its unguided norm the network's result may have");
  command->add_option("--cfg-truncation", request.cfg_truncation,
                      "Z-Image: up to which share of the way to the picture there is guidance");
  add_size_options(*command, request);
  add_step_options(*command, request);
  command->add_option("--true-cfg-scale", request.true_cfg_scale,
                      "of FLUX: above 1, with a negative prompt (default: 1)");
  command->add_option("--seed", options->seed,
                      "the first picture's seed; the next has seed + 1 (default: random)");
  command->add_option("--n", options->n, "how many pictures")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--clip-skip", request.clip_skip, "leave out the last layers of the CLIP encoders");
  command->add_option("--prompt-syntax", request.prompt_syntax, "diffusers, or a1111: weights and any length")
      ->check(CLI::IsMember({"diffusers", "a1111"}));
  command->add_option("--max-sequence-length", request.max_sequence_length, "T5 tokens, up to 512");
  command->add_option("--scheduler", request.scheduler,
                      "by Diffusers' class name (default: the folder's own)");
  command->add_option("--decoder", request.decoder, "tiny: of --decoders, less work and nearly as good");
  command->add_option("--quality", options->quality, "of jpg and webp, 0 to 100")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  command->add_flag("--quiet", options->quiet, "no progress");
  add_model_options(*command, options->model);
  command->callback([options, &exit_status] {
    if (const auto done = generate(*options); !done) exit_status = report(done.error());
  });
}

}  // namespace diffused::app
