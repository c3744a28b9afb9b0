#include "jobstore/sqlite_job_store.h"

#include <future>

#include "base/log.h"
#include "jobstore/sql_job_store.h"
#include "jobstore/sqlite_database.h"

namespace diffused::jobstore {

Result<std::unique_ptr<JobStore>> open_sqlite_job_store(const std::filesystem::path& file,
                                                        StoreOptions options, const Clock& clock) {
  TRY(auto database, SqliteDatabase::open(file, options.calls_waiting_max, clock));
  auto store = std::make_unique<SqlJobStore>(std::move(database), options);
  // The file's lock is ours, so whoever held a lease is gone.
  std::promise<Result<std::int64_t>> recovered;
  store->reap_all([&](Result<std::int64_t> jobs) { recovered.set_value(std::move(jobs)); });
  TRY(const std::int64_t jobs, recovered.get_future().get());
  if (jobs > 0) log(LogLevel::warning, "jobs_recovered", {{"jobs", jobs}});
  return store;
}

}  // namespace diffused::jobstore
