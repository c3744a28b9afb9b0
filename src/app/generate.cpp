// `diffused generate MODEL PROMPT -o FILE`: one request through the same engine as the server's, so the same
// seed gives the same bytes. A progress bar on stderr, the pictures in files.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "api/openai/uploads.h"
#include "api/picture.h"
#include "app/commands.h"
#include "app/models.h"
#include "app/one_job.h"
#include "app/request_options.h"
#include "app/version.h"
#include "base/files.h"
#include "base/ids.h"
#include "image/channels.h"
#include "parameters/request_fields.h"
#include "parameters/sampler_names.h"

namespace diffused::app {
namespace {

constexpr std::size_t kPictureBytesMax = 256 << 20;

struct GenerateOptions {
  ModelOptions model;
  std::string model_text;
  GenerateRequest request;
  std::string output = "out.png";
  std::string size;
  PictureFiles pictures;
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

// The pictures that the new one is made from. As with OpenAI's API, a transparent picture is its own mask.
Result<void> read_pictures(const GenerateOptions& options, GenerateRequest& request) {
  Result<void> outcome;
  each_picture(request, [&](const PictureInfo& input, auto& member) {
    const auto files = options.pictures.find(input.name);
    if (files == options.pictures.end()) return;
    for (const std::string& file : files->second) {
      auto read = outcome ? read_picture(file) : tl::unexpected(outcome.error());
      if (read && input.name == "init_image" && !request.mask)
        if (auto mask = api::mask_within(*read))
          request.mask = std::make_shared<const Image>(*std::move(mask));
      auto made = !read           ? std::move(read)
                  : input.is_mask ? api::to_mask(*std::move(read), api::MaskMode::automatic)
                                  : to_rgb(on_paper(*std::move(read)));
      outcome = made.map(
          [&](Image& picture) { add_picture(member, std::make_shared<const Image>(std::move(picture))); });
    }
  });
  return outcome;
}

// out.png for one picture; out-0.png, out-1.png … for several.
std::filesystem::path file_name(const std::filesystem::path& output, std::size_t index, std::size_t n) {
  if (n == 1) return output;
  return output.parent_path() /
         fmt::format("{}-{}{}", output.stem().string(), index, output.extension().string());
}

Result<void> write_pictures(const GenerateOptions& options, const PipelineInfo& info, const Codec& codec,
                            const GenerateRequest& request, const std::vector<ImageReady>& images) {
  const Recipe recipe{request, info, kVersion};
  for (std::size_t i = 0; i < images.size(); ++i) {
    TRY(const Picture picture,
        encode_picture(codec, options.quality, recipe, images[i].seed, images[i].image));
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

  TRY_VOID(read_pictures(options, options.request));
  TRY(const ModelArgument model, find_model(options.model_text));
  TRY(std::shared_ptr<Pipeline> pipeline, load_model(model, options.model));
  options.request.model = model.name;
  if (const SamplerChoice choice = choose_sampler(pipeline->info(), options.request.scheduler);
      !choice.name.empty() && choice.missing.empty())
    options.request.scheduler = choice.name;
  if (options.request.init_image && !options.request.width) {
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
  add_request_options(*command, request);
  add_picture_options(*command, options->pictures);
  command->add_option("--size", options->size,
                      "WIDTHxHEIGHT in pixels (default: that of --image, or the model's own)");
  command->add_option("--seed", options->seed,
                      "the first picture's seed; the next has seed + 1 (default: random)");
  command->add_option("--n", options->n, "how many pictures")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
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
