// `diffused inspect MODEL`: what a Diffusers folder or a checkpoint in one file holds, how large it is in
// which dtype, and what is missing.
#include <fmt/format.h>

#include <filesystem>
#include <map>

#include "app/commands.h"
#include "app/model_index.h"
#include "app/models.h"
#include "hub/listing.h"
#include "pipelines/catalog.h"
#include "pipelines/single_file/single_file.h"
#include "weights/checkpoint.h"

namespace diffused::app {
namespace {

using std::filesystem::path;

bool has_weights(const Component& component) {
  return component.class_name.find("Tokenizer") == std::string::npos &&
         component.class_name.find("Scheduler") == std::string::npos &&
         component.class_name.find("Processor") == std::string::npos &&
         component.class_name.find("Extractor") == std::string::npos;
}

struct Totals {
  std::uint64_t parameters = 0, bytes = 0;

  void operator+=(const Totals& other) {
    parameters += other.parameters;
    bytes += other.bytes;
  }
};

std::string megabytes(double bytes) { return fmt::format("{:.1f} MB", bytes / 1e6); }

Totals print_weights(const Component& component, const weights::Checkpoint& checkpoint) {
  Totals totals;
  std::map<std::string, std::uint64_t> bytes_by_dtype;
  for (const auto& tensor : checkpoint.list()) {
    std::uint64_t elements = 1;
    for (const auto size : tensor.shape) elements *= static_cast<std::uint64_t>(size);
    totals.parameters += elements;
    totals.bytes += tensor.bytes;
    bytes_by_dtype[tensor.dtype] += tensor.bytes;
  }
  std::string dtypes;
  for (const auto& [dtype, bytes] : bytes_by_dtype) dtypes += (dtypes.empty() ? "" : " ") + dtype;
  fmt::print("{:<18}{:<34}{:>9.2f} M  {:<8}{:>11}{:>11}{:>11}\n", component.name, component.class_name,
             totals.parameters / 1e6, dtypes, megabytes(totals.bytes), megabytes(2.0 * totals.parameters),
             megabytes(4.0 * totals.parameters));
  return totals;
}

Result<Totals> print_folder(const path& folder, const Component& component, const std::string& variant) {
  const bool diffusers = component.library == "diffusers";
  TRY(const auto checkpoint,
      weights::Checkpoint::open(folder / component.name,
                                {diffusers ? "diffusion_pytorch_model" : "model", variant}));
  return print_weights(component, *checkpoint);
}

void print_head(const path& model, const std::string& class_name) {
  fmt::print("{}: {}\n\n{:<18}{:<34}{:>11}  {:<8}{:>11}{:>11}{:>11}\n", model.string(), class_name,
             "component", "class", "parameters", "dtype", "on disk", "as bf16", "as fp32");
}

void print_all(const Totals& all) {
  fmt::print("{:<52}{:>9.2f} M  {:<8}{:>11}{:>11}{:>11}\n", "all", all.parameters / 1e6, "",
             megabytes(all.bytes), megabytes(2.0 * all.parameters), megabytes(4.0 * all.parameters));
}

// What a request means that names nothing, as /v1/models has it.
Result<void> print_defaults(const path& model, const pipelines::LoadOptions& options) {
  TRY(const PipelineInfo info, pipelines::describe_pipeline(model, options));
  fmt::print("defaults: {} steps, guidance {}, {}x{}, {}\n", info.default_steps, info.default_guidance_scale,
             info.default_width, info.default_height, info.schedulers.front());
  return {};
}

int inspect_file(const path& path, const pipelines::LoadOptions& options) {
  const auto file = pipelines::open_single_file(path);
  if (!file) return report(file.error());
  print_head(path, file->class_name);
  Totals all;
  for (const auto& [name, component] : file->components)
    all += print_weights({name, component.library, component.class_name}, *component.weights);
  print_all(all);
  fmt::print("tokenizers and all else: from --parts\n");
  if (options.parts.empty()) return 0;
  const auto printed = print_defaults(path, options);
  return printed ? 0 : report(printed.error());
}

int inspect(const path& folder, const pipelines::LoadOptions& options) {
  if (std::filesystem::is_regular_file(folder)) return inspect_file(folder, options);
  const auto index = read_model_index(folder);
  if (!index) return report(index.error());
  print_head(folder, index->class_name);
  Totals all;
  std::vector<Error> problems;
  for (const Component& component : index->components) {
    if (!hub::is_component_used(component.name)) {
      fmt::print("{:<18}{:<34} (not needed)\n", component.name, component.class_name);
    } else if (!std::filesystem::is_directory(folder / component.name)) {
      problems.push_back(
          {ErrorCode::not_found, fmt::format("{}: the folder of {} is missing",
                                             (folder / component.name).string(), component.class_name)});
    } else if (!has_weights(component)) {
      fmt::print("{:<18}{}\n", component.name, component.class_name);
    } else if (const auto totals = print_folder(folder, component, options.variant)) {
      all += *totals;
    } else {
      problems.push_back(totals.error());
    }
  }
  print_all(all);
  for (const std::string& name : index->absent) fmt::print("without {}\n", name);
  const bool native = pipelines::has_family(index->class_name);
  fmt::print("engine: {}\n", native ? "native" : "diffusers, as the class is not native");
  if (native && problems.empty()) {
    if (auto printed = print_defaults(folder, options); !printed) problems.push_back(printed.error());
  }
  for (const Error& problem : problems) report(problem);
  return problems.empty() ? 0 : kUnusable;
}

}  // namespace

void add_inspect(CLI::App& program, int& exit_status) {
  struct Options {
    std::string folder;
    pipelines::LoadOptions load;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("inspect", "Say what a model folder holds and what is missing");
  command
      ->add_option(
          "MODEL", options->folder,
          "a Diffusers folder, a .safetensors file, or owner/name in the cache of the Hugging Face hub")
      ->required();
  command->add_option("--variant", options->load.variant, "the weight files' variant, such as fp16");
  add_parts_option(*command, options->load);
  command->callback([options, &exit_status] {
    const auto model = find_model(options->folder);
    if (auto found = find_parts(options->load); !found)
      exit_status = report(found.error());
    else
      exit_status = model ? inspect(model->folder, options->load) : report(model.error());
  });
}

}  // namespace diffused::app
