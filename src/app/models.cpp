#include "app/models.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <thread>

#include "app/model_index.h"
#include "base/log.h"
#include "diffusers/diffusers_pipeline.h"
#include "hub/cache.h"
#include "hub/environment.h"
#include "hub/repo.h"

namespace diffused::app {

Result<ModelArgument> find_model(const std::string& text) {
  // A folder whose name holds '=' still works: what exists as it stands is a folder.
  if (const auto equals = text.find('=');
      equals != std::string::npos && equals > 0 && !std::filesystem::exists(text)) {
    TRY(ModelArgument model, find_model(text.substr(equals + 1)));
    return ModelArgument{text.substr(0, equals), model.folder, {}};
  }
  if (const auto repo = hub::parse_repo(text); repo && !std::filesystem::exists(text)) {
    TRY(const auto folder, hub::find_snapshot(hub::cache_folder(process_variables()), *repo));
    return ModelArgument{repo->name, folder.string(), text};
  }
  const auto folder = std::filesystem::path(text).lexically_normal();
  const bool is_file = folder.extension() == ".safetensors";
  const auto name = is_file                 ? folder.stem()
                    : folder.has_filename() ? folder.filename()
                                            : folder.parent_path().filename();
  return ModelArgument{name.empty() || name == "." ? "default" : name.string(), text, {}};
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  command
      .add_option("--dtype", options.load.dtype,
                  "bf16 or fp32 (default: bf16 where the processor multiplies it natively)")
      ->check(CLI::IsMember({"bf16", "fp32"}));
  command
      .add_option(
          "--quantize", options.load.quantize,
          "int8: the denoiser's large linears in 8 bits; faster, half the memory, pictures differ slightly")
      ->check(CLI::IsMember({"int8"}));
  command.add_option("--device", options.load.device, "cpu, cuda or cuda:N")->capture_default_str();
  command.add_option("--variant", options.load.variant, "the weight files' variant, such as fp16");
  command
      .add_option("--loras", options.load.loras,
                  "a folder of LoRAs (.safetensors) that requests choose from by name")
      ->check(CLI::ExistingDirectory);
  command
      .add_option("--embeddings", options.load.embeddings,
                  "a folder of textual inversions (.safetensors) that prompts name")
      ->check(CLI::ExistingDirectory);
  command
      .add_option("--decoders", options.load.decoders,
                  "a folder of tiny decoders, for previews and for requests that want one: taesd, taesdxl, "
                  "taesd3, taef1, taef2, as folders or .safetensors files")
      ->check(CLI::ExistingDirectory);
  add_parts_option(command, options.load);
  command.add_option("--vae", options.load.vae,
                     "another autoencoder: its folder, a model's, or a .safetensors file");
  command.add_option_function<std::string>(
      "--defaults",
      [&options](const std::string& text) {
        auto defaults = pipelines::parse_model_defaults(text);
        if (!defaults) throw CLI::ValidationError("--defaults", defaults.error().message);
        options.load.defaults = *defaults;
      },
      "what a request means that names none, such as steps=8,guidance=0 for a distilled model");
  command.add_option_function<std::string>(
      "--cache",
      [&options](const std::string& text) {
        auto cache = parse_step_cache(text);
        if (!cache) throw CLI::ValidationError("--cache", cache.error().message);
        options.load.cache = *cache;
      },
      "spare steps where a request says nothing of it: easy, or easy=THRESHOLD (default: none)");
  command.add_option("--threads", options.threads, "processor cores for the model (default: all)")
      ->check(CLI::Range(1, 1024));
  add_engine_options(command, options.engine);
}

void add_parts_option(CLI::App& command, pipelines::LoadOptions& load) {
  command
      .add_option(
          "--parts", load.parts,
          "Diffusers folders with what a .safetensors checkpoint lacks: tokenizers, perhaps encoders; "
          "one for each class of model")
      ->allow_extra_args(false);
}

Result<void> find_parts(pipelines::LoadOptions& load) {
  for (std::string& part : load.parts) {
    TRY(ModelArgument found, find_model(part));
    part = std::move(found.folder);
  }
  return {};
}

std::uint64_t weights_on_disk(const ModelArgument& model) {
  std::uint64_t bytes = 0;
  std::error_code ec;
  if (std::filesystem::is_regular_file(model.folder, ec)) return std::filesystem::file_size(model.folder, ec);
  std::set<std::filesystem::path> seen;
  for (std::filesystem::recursive_directory_iterator entry(model.folder, ec), end; !ec && entry != end;
       entry.increment(ec)) {
    if (entry->path().extension() != ".safetensors") continue;
    std::error_code unreadable;
    const auto file = std::filesystem::canonical(entry->path(), unreadable);
    if (!unreadable && seen.insert(file).second) bytes += std::filesystem::file_size(file, unreadable);
  }
  return bytes;
}

namespace {

Result<std::unique_ptr<Pipeline>> load_native(const ModelArgument& model, const ModelOptions& options) {
  pipelines::LoadOptions load = options.load;
  TRY_VOID(find_parts(load));
  if (!load.vae.empty()) {
    TRY(ModelArgument found, find_model(load.vae.string()));
    load.vae = std::move(found.folder);
  }
  return pipelines::load_pipeline(model.folder, load);
}

// What only our own networks can do is left out, and said to be.
void tell_left_out(const ModelArgument& model, const pipelines::LoadOptions& load) {
  if (load.quantize.empty() && load.loras.empty() && load.vae.empty()) return;
  log(LogLevel::warning, "options_left_out",
      {{"model", model.name},
       {"engine", "diffusers"},
       {"quantize", load.quantize},
       {"vae", load.vae.string()},
       {"loras", load.loras.string()}});
}

Result<std::unique_ptr<Pipeline>> load_in_diffusers(const ModelArgument& model, const ModelOptions& options) {
  tell_left_out(model, options.load);
  const auto python = find_python(options.engine, process_variables());
  if (!python)
    return fail(
        ErrorCode::not_found,
        fmt::format("{}: name a Python that has diffusers by --python, or DIFFUSED_PYTHON", model.folder));
  diffusers::WorkerOptions worker;
  worker.python = *python;
  TRY(worker.program, find_worker_program(process_variables()));
  worker.folder = std::filesystem::absolute(model.folder);
  worker.name = model.name;
  const char* const usual = options.load.device == "cpu" ? "fp32" : "bf16";
  worker.dtype = options.load.dtype.empty() ? usual : options.load.dtype;
  worker.device = options.load.device;
  worker.variant = options.load.variant;
  worker.threads = options.threads;
  return diffusers::load_pipeline(std::move(worker));
}

// Our own engine has no such class: the refusal, and what would serve the folder.
tl::unexpected<Error> refuse_class(const ModelArgument& model, const std::string& class_name) {
  return fail(ErrorCode::unsupported,
              fmt::format("{}: pipeline class '{}' is not native; with a Python that has diffusers "
                          "(pip install diffusers transformers), named by --python, it would be served",
                          model.folder, class_name),
              model.folder);
}

}  // namespace

Result<std::unique_ptr<Pipeline>> load_model(const ModelArgument& model, const ModelOptions& options) {
  const std::string engine = engine_for(options.engine, model.name);
  if (engine == "native") return load_native(model, options);
  if (engine == "diffusers") return load_in_diffusers(model, options);
  const auto index = read_model_index(model.folder);
  if (!index || pipelines::has_family(index->class_name)) return load_native(model, options);
  if (!find_python(options.engine, process_variables())) return refuse_class(model, index->class_name);
  return load_in_diffusers(model, options);
}

void prepare_device_thread(const ModelOptions& options) {
  if (options.threads > 0) at::set_num_threads(options.threads);
  at::globalContext().setFlushDenormal(true);
}

double measure_flops_per_second(const ModelOptions& options) {
  // Networks do more than multiply, and get this share of what a product gets.
  constexpr double kShare = 0.5;
  constexpr int kTries = 3;
  double least_seconds = std::numeric_limits<double>::infinity();
  const at::Device device(options.load.device);
  const std::int64_t side = device.is_cpu() ? 1024 : 4096;
  // On a thread of its own, whose team of threads goes with it.
  std::thread([&] {
    prepare_device_thread(options);
    const c10::InferenceMode inference;
    const at::Tensor matrix = at::ones({side, side}, at::TensorOptions(device).dtype(at::kFloat));
    for (int i = 0; i <= kTries; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      static_cast<void>(
          at::mm(matrix, matrix).select(0, 0).select(0, 0).item<float>());  // waits for the device
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      if (i > 0) least_seconds = std::min(least_seconds, took.count());  // the first one warms up
    }
  }).join();
  return kShare * 2 * std::pow(static_cast<double>(side), 3) / least_seconds;
}

}  // namespace diffused::app
