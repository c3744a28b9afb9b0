// The job store of many machines: a PostgreSQL database.
#pragma once

#include <memory>
#include <string>

#include "jobstore/job_store.h"
#include "jobstore/postgres_database.h"

namespace diffused::jobstore {

// Errors: as PostgresDatabase::open.
Result<std::unique_ptr<JobStore>> open_postgres_job_store(const std::string& url, StoreOptions options,
                                                          PostgresOptions connection = {});

// Whether this is what open_postgres_job_store takes.
bool is_postgres_url(const std::string& text);

}  // namespace diffused::jobstore
