// Rows and cells of a database as jobs and numbers, and replies that turn the one into the other.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "jobstore/database.h"

namespace diffused::jobstore {

inline constexpr std::array<std::string_view, 5> kStates{"queued", "running", "succeeded", "failed",
                                                         "cancelled"};
inline constexpr std::chrono::seconds kOwnerRetryAfter{5};  // while an owner has too many jobs
inline constexpr std::int64_t kRecentSeconds = 3600;        // Announced::recent
// Beyond the end of any lease.
inline constexpr std::int64_t kAllLeases = 1'000'000'000'000'000;

inline std::string text(std::int64_t number) { return std::to_string(number); }
inline std::string text(double number) { return fmt::format("{}", number); }

template <typename Number>
Number number(const std::optional<std::string>& cell) {
  Number value{};
  CHECK(cell.has_value());
  const auto [end, error] = std::from_chars(cell->data(), cell->data() + cell->size(), value);
  CHECK_WITH(error == std::errc(), "no number: " + *cell);
  return value;
}

inline std::optional<std::int64_t> maybe_number(const std::optional<std::string>& cell) {
  if (!cell) return std::nullopt;
  return number<std::int64_t>(cell);
}

inline JobState state_of(const std::string& word) {
  const auto found = std::find(kStates.begin(), kStates.end(), word);
  CHECK(found != kStates.end());
  return static_cast<JobState>(found - kStates.begin());
}

// A row of columns() (statements.cpp).
inline Job job_of(Values row) {
  Job job;
  job.sequence = number<std::int64_t>(row[0]);
  job.id = *std::move(row[1]);
  job.owner = *std::move(row[2]);
  job.pool = *std::move(row[3]);
  job.state = state_of(*row[4]);
  job.attempt = number<int>(row[5]);
  job.lease = number<std::int64_t>(row[6]);
  job.spec = *std::move(row[7]);
  job.outcome = std::move(row[8]);
  job.created = number<std::int64_t>(row[9]);
  job.started = maybe_number(row[10]);
  job.finished = maybe_number(row[11]);
  job.expires = maybe_number(row[12]);
  job.progress = number<int>(row[13]);
  job.worker = std::move(row[14]).value_or("");
  job.request_id = std::move(row[15]).value_or("");
  job.trace = std::move(row[16]).value_or("");
  job.priority = number<int>(row[17]);
  job.age = std::chrono::milliseconds(std::max<std::int64_t>(0, number<std::int64_t>(row[18])));
  return job;
}
inline constexpr std::size_t kRequestHashColumn = 19;  // of find_by_key

inline std::vector<Job> jobs_of(Rows rows) {
  std::vector<Job> jobs;
  for (Values& row : rows) jobs.push_back(job_of(std::move(row)));
  return jobs;
}

inline tl::unexpected<Error> no_such_job() {
  return diffused::fail(ErrorCode::not_found, "there is no such job, or it has expired", "id",
                        "job_not_found");
}

// A reply to the database that hands errors on and rows to `then`.
template <typename T, typename Then>
Reply<Rows> rows_to(Reply<T> reply, Then then) {
  return [reply = std::move(reply), then = std::move(then)](Result<Rows> rows) {
    if (!rows) return reply(tl::unexpected(std::move(rows).error()));
    then(*std::move(rows), reply);
  };
}

inline Reply<Rows> whether_any(Reply<bool> reply) {
  return rows_to<bool>(std::move(reply), [](Rows rows, const Reply<bool>& answer) { answer(!rows.empty()); });
}

inline Reply<Rows> how_many(Reply<std::int64_t> reply) {
  return rows_to<std::int64_t>(std::move(reply), [](Rows rows, const Reply<std::int64_t>& answer) {
    answer(static_cast<std::int64_t>(rows.size()));
  });
}

inline Reply<Rows> the_jobs(Reply<std::vector<Job>> reply) {
  return rows_to<std::vector<Job>>(std::move(reply), [](Rows rows, const Reply<std::vector<Job>>& answer) {
    answer(jobs_of(std::move(rows)));
  });
}

// The job of one row, if it is the owner's.
inline Result<Job> own_job(Rows rows, const std::optional<std::string>& owner) {
  if (rows.empty()) return no_such_job();
  Job job = job_of(std::move(rows.front()));
  if (owner && job.owner != *owner) return no_such_job();
  return job;
}

}  // namespace diffused::jobstore
