// The server put together from its rooms, for given pipelines. No torch: the benchmarks run it on a pipeline
// of their own.
#pragma once

#include <vector>

#include "app/settings.h"
#include "base/result.h"
#include "engine/local_dispatcher.h"

namespace diffused::app {

// Listens, prints "listening on URL" and a curl line on stdout, and serves until SIGTERM or SIGINT; then
// is not ready any more, but serves on for drain_delay, and drains. A second signal ends the process at once.
// Returns when everything has ended in order. Without models it is a gateway: settings.store must be named,
// and other servers on it make the pictures. Errors: what cannot be opened or bound.
Result<void> run_server(ServerSettings settings, std::vector<engine::LocalModel> models);

}  // namespace diffused::app
