#include "jobstore/postgres_job_store.h"

#include "jobstore/sql_job_store.h"

namespace diffused::jobstore {

Result<std::unique_ptr<JobStore>> open_postgres_job_store(const std::string& url, StoreOptions options,
                                                          PostgresOptions connection) {
  connection.calls_waiting_max = options.calls_waiting_max;
  TRY(auto database, PostgresDatabase::open(url, connection));
  return std::make_unique<SqlJobStore>(std::move(database), options);
}

bool is_postgres_url(const std::string& text) {
  return text.starts_with("postgresql://") || text.starts_with("postgres://");
}

}  // namespace diffused::jobstore
