// `diffused serve MODEL…`: the options of the server, and the models it is given.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include "app/commands.h"
#include "app/fleet.h"
#include "app/models.h"
#include "app/serve_options.h"
#include "app/server.h"
#include "base/log.h"

namespace diffused::app {
namespace {

struct ModelServeOptions {
  ServeOptions common;
  ModelOptions model;
  FleetOptions fleet;
  int queue_seconds = 600;
  double unit_seconds = 2;
};

// Empty where there is no /proc.
std::filesystem::path program_folder() {
  std::error_code unknown;
  return std::filesystem::read_symlink("/proc/self/exe", unknown).parent_path();
}

// A gateway must not load libtorch, which this program is linked to: another one takes its place, with the
// arguments behind "serve". Returns only when that fails.
Error become_gateway(char** arguments) {
  const auto program = program_folder() / "diffused-gateway";
  std::string name = program.string();
  std::vector<char*> passed{name.data()};
  for (char** argument = arguments + 2; *argument != nullptr; ++argument) passed.push_back(*argument);
  passed.push_back(nullptr);
  ::execv(name.c_str(), passed.data());
  return {ErrorCode::not_found, fmt::format("{}: {}", name, std::strerror(errno)), "--role", {}};
}

// Other servers on a store may have it; alone it must be here.
Result<void> check_default(const ServerSettings& server, const std::vector<engine::LocalModel>& models) {
  const std::string& name = server.api.default_model;
  const auto has = [&](const engine::LocalModel& model) {
    return model.name == name || std::ranges::count(model.aliases, name) > 0;
  };
  if (name.empty() || !server.store.empty() || std::ranges::any_of(models, has)) return {};
  return fail(ErrorCode::invalid_argument, fmt::format("--default-model: no model is named '{}'", name));
}

// An installed program has a small model beside it, so that there is something to try. Who shares a store
// means another one.
Result<void> name_a_model(ModelServeOptions& options) {
  std::vector<std::string>& models = options.fleet.models;
  if (!models.empty()) return {};
  const auto demo = program_folder() / "../share/diffused/models/demo";
  if (std::error_code unknown;
      !std::filesystem::exists(demo, unknown) || !options.common.server.store.empty())
    return fail(ErrorCode::invalid_argument,
                "serve: which model? Name a Diffusers folder or owner/name in the cache, or set MODEL_PATH");
  models.push_back(demo.lexically_normal().string());
  log(LogLevel::warning, "demo_model", {{"message", "no model is named: the demo model is served"}});
  return {};
}

void add_engine_options(CLI::App& command, ModelServeOptions& options) {
  ServerSettings& server = options.common.server;
  engine::EngineOptions& engine = server.engine;
  command.add_option("--queue-jobs-max", engine.jobs_waiting_max, "jobs that may wait")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      .add_option("--queue-seconds-max", options.queue_seconds,
                  "estimated seconds of work that may be at hand")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      .add_option(
          "--unit-seconds-max", options.unit_seconds,
          "estimated seconds that one step of one picture may hold the device; larger pictures are refused, "
          "but not those of the model's own size")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--rows-max", engine.rows_active_max, "pictures in flight")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      .add_option("--batch-rows-max", engine.batch_rows_max,
                  "pictures in one step; the best number below it is measured")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      .add_option("--background-running-max", server.background.jobs_running_max,
                  "background jobs that run at a time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
}

void add_options(CLI::App& command, ModelServeOptions& options) {
  command
      .add_option("MODEL", options.fleet.models,
                  "Diffusers folders, .safetensors files, owner/name[@revision] in the cache of the "
                  "Hugging Face hub, or name=MODEL; "
                  "the first is the default")
      ->envname("MODEL_PATH");  // what the server of Diffusers' guide reads
  add_serve_options(command, options.common);
  add_engine_options(command, options);
  add_model_options(command, options.model);
  add_fleet_options(command, options.fleet);
}

Result<void> serve(ModelServeOptions options, char** arguments) {
  if (options.common.role == "gateway") return tl::unexpected(become_gateway(arguments));
  TRY_VOID(name_a_model(options));
  TRY_VOID(apply_serve_options(options.common));
  if (options.common.completion.check_only) return say_all_is_well();
  reload_limits(options.common, [arguments]() -> Result<api::RequestLimits> {
    CLI::App command;
    ModelServeOptions fresh;
    add_options(command, fresh);
    TRY_VOID(parse_again(command, fresh.common.completion, arguments + 1));
    return fresh.common.server.api.limits;
  });
  ServerSettings& server = options.common.server;
  server.api.queue_jobs_max = server.engine.jobs_waiting_max;
  server.engine.work_queued_max = std::chrono::seconds(options.queue_seconds);
  server.engine.unit_max = std::chrono::duration<double>(options.unit_seconds);
  server.engine.prepare_device_thread = [model = options.model] { prepare_device_thread(model); };
  server.engine.pool = pool_options(options.fleet);
  TRY(auto models, load_fleet(options.fleet, options.model));
  TRY_VOID(check_default(server, models));
  server.engine.initial_flops_per_second = measure_flops_per_second(options.model);
  return run_server(std::move(server), std::move(models));
}

}  // namespace

void add_serve(CLI::App& program, char** arguments, int& exit_status) {
  const auto options = std::make_shared<ModelServeOptions>();
  CLI::App* command = program.add_subcommand("serve", "Serve models over HTTP");
  add_options(*command, *options);
  command->callback([options, command, arguments, &exit_status] {
    const auto done = complete(*command, options->common.completion).and_then([&](bool go_on) {
      return go_on ? serve(*options, arguments) : Result<void>();
    });
    if (!done) exit_status = report(done.error());
  });
}

}  // namespace diffused::app
