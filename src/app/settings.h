// What a server is told at its start.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "api/api.h"
#include "background/background.h"
#include "base/result.h"
#include "engine/options.h"
#include "http/server.h"
#include "jobstore/job_store.h"

namespace diffused::app {

struct ServerSettings {
  http::ServerOptions http;
  std::optional<http::ServerOptions> watch;  // a second address, for the figures without a key
  api::ApiOptions api;
  engine::EngineOptions engine;
  std::filesystem::path data_dir;  // pictures live in data_dir/images, jobs in data_dir/jobs.db
  // For many servers that share their jobs: postgresql://…, and a folder that all of them see or
  // s3://bucket/prefix, in place of data_dir. Empty: none.
  std::string store;
  bool require_sync = false;  // of the store: a standby has what was accepted
  std::string blobs;
  std::string blobs_endpoint;  // of the store that has the bucket; empty: as the environment says
  std::uint64_t free_bytes_min = 256ull << 20;  // below so much free space no picture is kept
  std::uint64_t images_bytes_max = 4ull << 30;  // the oldest pictures go first beyond it
  // How long the server says that it is going before it takes nothing more. All that came until then is
  // answered, as far as drain_timeout allows. Zero: what has not begun is refused at once.
  std::chrono::milliseconds drain_delay = std::chrono::seconds(0);
  std::chrono::seconds drain_timeout = std::chrono::seconds(60);  // after that
  std::string worker;              // this server's name among those on the store; run_server draws it
  background::Options background;  // how jobs run that outlive their requests
  jobstore::StoreOptions jobs;
  std::uint64_t inputs_bytes_max = 1ull << 30;  // pictures that waiting jobs start from, in data_dir/inputs
  // Reads the keys again; called at SIGHUP, on a worker thread. Null: there are none.
  std::function<Result<void>()> reload_keys = nullptr;
  std::function<Result<void>()> reload_limits = nullptr;  // in the same way
  int io_threads = 2;
  int worker_threads = 2;  // encode and store pictures; half as many, and one, decode those that clients send
  // What requests may hold in memory at one time, from their bodies to their answers; one user half of it.
  std::uint64_t memory_bytes_max = 768ull << 20;
};

// How long a background job's server may be silent before the job goes to another; it says something three
// times as often.
void set_lease(ServerSettings& settings, double seconds);

// $XDG_STATE_HOME/diffused, or its default below the home folder.
std::filesystem::path default_data_dir();

}  // namespace diffused::app
