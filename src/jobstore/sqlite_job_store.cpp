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
  std::promise<Result<std::vector<Job>>> recovered;
  store->reap_all([&](Result<std::vector<Job>> jobs) { recovered.set_value(std::move(jobs)); });
  TRY(const std::vector<Job> jobs, recovered.get_future().get());
  for (const Job& job : jobs)
    log(LogLevel::warning, "worker_lost",
        {{"job", job.id}, {"request_id", job.request_id}, {"worker", job.worker}, {"attempt", job.attempt}});
  if (!jobs.empty()) log(LogLevel::warning, "jobs_recovered", {{"jobs", jobs.size()}});
  return store;
}

}  // namespace diffused::jobstore
