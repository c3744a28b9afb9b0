// START HERE for the room `diffusers`: pipelines that the server does not have itself run in Diffusers, in a
// Python process of their own, step by step under the same engine.
//
// This Pipeline turns each unit into a question to a Worker (worker.h), which has the process. What the
// pipeline's call takes, and its defaults, come from its signature (description.h). A row is one picture;
// rows share no unit. The other side is python/diffused_worker; docs/decisions/0024 says why there is one.
#pragma once

#include <memory>

#include "diffusers/worker.h"
#include "job/pipeline.h"

namespace diffused::diffusers {

// Starts the worker and loads the folder. Errors: as Worker::start.
Result<std::unique_ptr<Pipeline>> load_pipeline(WorkerOptions options);

}  // namespace diffused::diffusers
