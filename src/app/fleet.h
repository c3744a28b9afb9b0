// The models that one server has: loaded at the start, as many as the memory budget allows, and again when
// they are asked for.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "app/models.h"
#include "base/result.h"
#include "engine/model_pool.h"

namespace diffused::app {

struct FleetOptions {
  std::vector<std::string> models;   // as find_model takes them; the first is the default
  std::vector<std::string> aliases;  // ALIAS, or ALIAS=NAME
  std::uint64_t memory_budget_bytes = 0;
  int keep_alive_seconds = 0;
  std::vector<std::string> pinned;  // names
  std::string upscalers;            // a folder of networks that make pictures larger; empty: none
};

// Adds --alias, --memory-budget, --keep-alive, --pin and --upscalers. `options` must outlive the parsing.
void add_fleet_options(CLI::App& command, FleetOptions& options);

engine::PoolOptions pool_options(const FleetOptions& options);

// Loads every model once, so that one that cannot be served is refused now and its limits are known; networks
// that are equal are in memory once. Those that fit the budget stay, the first before the later ones, pinned
// ones and upscalers in any case. A file of the upscalers' folder that is none is left out, and the log says
// why. Errors: those of find_model and load_model; invalid_argument for names that are double or
// unknown, and for a model that the budget never has room for.
Result<std::vector<engine::LocalModel>> load_fleet(const FleetOptions& options, const ModelOptions& how);

}  // namespace diffused::app
