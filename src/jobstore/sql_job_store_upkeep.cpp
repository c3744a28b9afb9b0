// What whoever runs the servers asks of their store.
#include "jobstore/rows.h"
#include "jobstore/sql_job_store.h"

namespace diffused::jobstore {

void SqlJobStore::list_state(JobState state, int jobs_max, Reply<std::vector<Job>> reply) {
  run(StatementName::list_state,
      {std::string(kStates[static_cast<std::size_t>(state)]), text(std::int64_t{jobs_max})},
      the_jobs(std::move(reply)));
}

void SqlJobStore::requeue(std::string id, Reply<Job> reply) {
  change(
      StatementName::requeue, {std::move(id)}, std::nullopt,
      [](Job job) -> Result<Job> {
        return diffused::fail(
            ErrorCode::conflict,
            job.state == JobState::queued ? "the job is queued already" : "the job has succeeded", "id",
            "job_not_ended");
      },
      std::move(reply));
}

void SqlJobStore::pause(std::string pool, bool paused, Reply<bool> reply) {
  run(paused ? StatementName::pause : StatementName::resume, {std::move(pool)},
      whether_any(std::move(reply)));
}

void SqlJobStore::paused(Reply<std::vector<std::string>> reply) {
  auto listed = [](Rows rows, const Reply<std::vector<std::string>>& answer) {
    std::vector<std::string> pools;
    for (Values& row : rows) pools.push_back(*std::move(row[0]));
    answer(std::move(pools));
  };
  run(StatementName::paused, {}, rows_to<std::vector<std::string>>(std::move(reply), listed));
}

void SqlJobStore::upkeep(Reply<Upkeep> reply) {
  auto told = [](Rows rows, const Reply<Upkeep>& answer) {
    if (rows.empty()) return answer(Upkeep{});
    answer(Upkeep{number<std::int64_t>(rows.front()[0]), number<std::int64_t>(rows.front()[1])});
  };
  run(StatementName::upkeep, {}, rows_to<Upkeep>(std::move(reply), told));
}

}  // namespace diffused::jobstore
