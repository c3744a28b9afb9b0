// START HERE for the room `background`: jobs that outlive their requests. Background (background.h) claims
// them from the store that servers may share, runs them and writes down what became of them; RemoteDispatcher
// (remote_dispatcher.h) has requests made by other servers on the store. The room knows no dialect and no
// HTTP.
#pragma once

#include <memory>
#include <string>

#include "async/workers.h"
#include "background/picture_output.h"
#include "base/clock.h"
#include "base/memory_budget.h"
#include "job/dispatcher.h"
#include "jobstore/job_store.h"
#include "storage/blob_store.h"

namespace diffused::background {

// The parts of a server that jobs are made with. All that is referred to outlives them; any thread.
struct Parts {
  Dispatcher* local = nullptr;  // which makes pictures in this process; null: none are made here
  jobstore::JobStore& store;
  storage::BlobStore& inputs;  // the pictures that jobs start from
  PictureOutput pictures;
  Workers& workers;
  const Clock& clock;
  std::shared_ptr<MemoryBudget> memory = nullptr;  // what running jobs are charged to; null: nobody counts
  std::string version = {};                        // the program's, for the pictures' texts
};

}  // namespace diffused::background
