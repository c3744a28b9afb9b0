#include "app/fleet.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/clock.h"
#include "base/log.h"
#include "job/weights.h"
#include "pipelines/upscaler/upscaler.h"

namespace diffused::app {
namespace {

using engine::LocalModel;

std::string gigabytes(std::uint64_t bytes) {
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

class FleetLoader {
 public:
  FleetLoader(const FleetOptions& options, const ModelOptions& how) : options_(options), how_(how) {
    how_.load.networks = pipelines::make_network_store();
  }

  Result<void> add(const std::string& text);
  Result<void> add_alias(const std::string& text);
  void add_upscalers();
  Result<std::vector<LocalModel>> finish();

 private:
  bool bounded() const { return options_.memory_budget_bytes > 0; }
  void add_upscaler(const std::filesystem::path& file);
  // Of what never goes.
  WeightSum upscaler_weights() const {
    WeightSum sum;
    for (const LocalModel& upscaler : upscalers_) sum.add(upscaler.info.networks);
    return sum;
  }
  std::uint64_t held_bytes() const {
    WeightSum sum = upscaler_weights();
    for (const LocalModel& model : models_)
      if (model.pipeline) sum.add(model.info.networks);
    return sum.bytes();
  }
  void make_room(std::uint64_t bytes);
  Result<void> load(std::size_t index);
  Result<void> read(std::size_t index);
  Result<void> check_budget();
  Result<void> fill_up();

  const FleetOptions& options_;
  ModelOptions how_;
  const SystemClock clock_;
  std::vector<LocalModel> models_;
  std::vector<ModelArgument> arguments_;  // of each model
  std::vector<LocalModel> upscalers_;
  std::set<std::string> names_;
};

// Lets go of models, the last first, until `bytes` more fit.
void FleetLoader::make_room(std::uint64_t bytes) {
  for (auto model = models_.rbegin();
       model != models_.rend() && held_bytes() + bytes > options_.memory_budget_bytes; ++model)
    if (!model->pinned) model->pipeline.reset();
}

Result<void> FleetLoader::add(const std::string& text) {
  TRY(ModelArgument model, find_model(text));
  if (!names_.insert(model.name).second)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("two models are named '{}'; name them apart: one={} other=…", model.name, model.folder));
  LocalModel served{.name = model.name, .created = clock_.unix_seconds()};
  served.pinned = std::ranges::find(options_.pinned, model.name) != options_.pinned.end();
  if (!model.id.empty() && names_.insert(model.id).second) served.aliases.push_back(model.id);
  models_.push_back(std::move(served));
  arguments_.push_back(std::move(model));
  return {};
}

Result<void> FleetLoader::load(std::size_t index) {
  // Files hold 16 bits a weight or more; what the networks take, and what of it is there already, is known
  // once they are read.
  if (bounded()) make_room(weights_on_disk(arguments_[index]));
  TRY_VOID(read(index));
  if (bounded()) make_room(0);
  return {};
}

Result<void> FleetLoader::read(std::size_t index) {
  const ModelArgument& argument = arguments_[index];
  LocalModel& model = models_[index];
  const auto started = clock_.now();
  TRY(model.pipeline, load_model(argument, how_));
  const std::chrono::duration<double> seconds = clock_.now() - started;
  model.info = model.pipeline->info();
  log(LogLevel::info, "model_loaded",
      {{"model", model.name},
       {"class", model.info.class_name},
       {"dtype", model.info.dtype},
       {"device", model.info.device},
       {"parameters", model.info.parameters},
       {"seconds", seconds.count()}});
  if (bounded() || options_.keep_alive_seconds > 0)
    model.load = [argument, how = how_]() -> Result<std::shared_ptr<Pipeline>> {
      return load_model(argument, how);
    };
  return {};
}

Result<void> FleetLoader::add_alias(const std::string& text) {
  // ALIAS is the first model's, which is also the default; ALIAS=NAME another one's.
  const std::string alias = text.substr(0, text.find('='));
  const std::string name = alias.size() < text.size() ? text.substr(alias.size() + 1) : models_.front().name;
  const auto model = std::ranges::find(models_, name, &LocalModel::name);
  if (model == models_.end())
    return fail(ErrorCode::invalid_argument, fmt::format("--alias: no model is named '{}'", name));
  if (names_.insert(alias).second) model->aliases.push_back(alias);
  return {};
}

// What a model shares with others is known only once both have been read: room may be left by then.
Result<void> FleetLoader::fill_up() {
  for (std::size_t i = 0; i < models_.size(); ++i) {
    WeightSum sum = upscaler_weights();
    sum.add(models_[i].info.networks);
    for (const LocalModel& model : models_)
      if (model.pipeline) sum.add(model.info.networks);
    if (!models_[i].pipeline && sum.bytes() <= options_.memory_budget_bytes) TRY_VOID(read(i));
  }
  return {};
}

// The first last, so that it is there in the end. Every model must fit beside those that never go.
Result<std::vector<LocalModel>> FleetLoader::finish() {
  for (const std::string& name : options_.pinned)
    if (std::ranges::find(models_, name, &LocalModel::name) == models_.end())
      return fail(ErrorCode::invalid_argument, fmt::format("--pin: no model is named '{}'", name));
  for (std::size_t left = models_.size(); left > 0; --left) {
    TRY_VOID(load(left - 1));
  }
  if (bounded()) TRY_VOID(check_budget());
  std::ranges::move(upscalers_, std::back_inserter(models_));
  return std::move(models_);
}

Result<void> FleetLoader::check_budget() {
  WeightSum pinned = upscaler_weights();
  for (const LocalModel& model : models_)
    if (model.pinned) pinned.add(model.info.networks);
  for (const LocalModel& model : models_) {
    WeightSum together = pinned;
    together.add(model.info.networks);
    if (together.bytes() > options_.memory_budget_bytes)
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("--memory-budget: {} and the pinned models take {}, which is more than {}", model.name,
                      gigabytes(together.bytes()), gigabytes(options_.memory_budget_bytes)));
  }
  return fill_up();
}

void FleetLoader::add_upscaler(const std::filesystem::path& file) {
  auto pipeline = pipelines::load_upscaler(file, how_.load);
  if (!pipeline) return log(LogLevel::warning, "upscaler_left_out", {{"reason", pipeline.error().message}});
  const std::string stem = file.stem().string();
  LocalModel upscaler{.name = pipelines::upscaler_label(stem), .created = clock_.unix_seconds()};
  if (!names_.insert(upscaler.name).second)
    return log(LogLevel::warning, "upscaler_left_out",
               {{"reason", fmt::format("{}: something else is named '{}'", file.string(), upscaler.name)}});
  if (names_.insert(stem).second) upscaler.aliases.push_back(stem);
  upscaler.pipeline = *std::move(pipeline);
  upscaler.info = upscaler.pipeline->info();
  upscaler.pinned = true;
  log(LogLevel::info, "upscaler_loaded", {{"upscaler", upscaler.name}, {"enlarges", upscaler.info.enlarges}});
  upscalers_.push_back(std::move(upscaler));
}

// Files of other endings may lie beside them; those of networks that cannot be read are told of.
void FleetLoader::add_upscalers() {
  if (options_.upscalers.empty()) return;
  std::set<std::filesystem::path> files;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(options_.upscalers, ec)) {
    const std::filesystem::path ending = entry.path().extension();
    std::error_code unreadable;
    if ((ending == ".safetensors" || ending == ".pth") && entry.is_regular_file(unreadable))
      files.insert(entry.path());
  }
  for (const std::filesystem::path& file : files) add_upscaler(file);
}

}  // namespace

void add_fleet_options(CLI::App& command, FleetOptions& options) {
  command.add_option(
      "--alias", options.aliases,
      "another name for the first model, such as dall-e-3; ALIAS=NAME: for the model of that name");
  command
      .add_option(
          "--memory-budget", options.memory_budget_bytes,
          "such as 24GB: weights of at most this size are in memory, those that models share counted once; "
          "other models are loaded when asked for (default: all, always)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  command
      .add_option("--keep-alive", options.keep_alive_seconds,
                  "seconds after which a model that nobody uses is unloaded (default: when room is needed)")
      ->check(CLI::PositiveNumber);
  command.add_option("--pin", options.pinned, "the name of a model that is never unloaded");
  command
      .add_option("--upscalers", options.upscalers,
                  "a folder of networks of ESRGAN's and Real-ESRGAN's kind (.safetensors) that /sdapi makes "
                  "pictures larger with")
      ->check(CLI::ExistingDirectory);
}

engine::PoolOptions pool_options(const FleetOptions& options) {
  return {.memory_budget_bytes = options.memory_budget_bytes,
          .keep_alive = std::chrono::seconds(options.keep_alive_seconds)};
}

Result<std::vector<LocalModel>> load_fleet(const FleetOptions& options, const ModelOptions& how) {
  FleetLoader loader(options, how);
  for (const std::string& text : options.models) {
    TRY_VOID(loader.add(text));
  }
  for (const std::string& text : options.aliases) {
    TRY_VOID(loader.add_alias(text));
  }
  loader.add_upscalers();
  return loader.finish();
}

}  // namespace diffused::app
