// The job store of one machine: a SQLite file.
#pragma once

#include <filesystem>
#include <memory>

#include "base/clock.h"
#include "jobstore/job_store.h"

namespace diffused::jobstore {

// Opens the file and gives back the jobs that ran when the last server on it ended, as attempts that were
// used. `clock` must outlive the store. Errors: as SqliteDatabase::open.
Result<std::unique_ptr<JobStore>> open_sqlite_job_store(const std::filesystem::path& file,
                                                        StoreOptions options, const Clock& clock);

}  // namespace diffused::jobstore
