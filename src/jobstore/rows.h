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
#include "base/log.h"
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

// A row's cells, read one after the other. Somebody may have edited it, or a page is damaged.
class CellReader {
 public:
  explicit CellReader(Values& row) : row_(row) {}
  // Whether all that was read was what it should be.
  bool good() const { return good_; }

  std::string text() {
    std::optional<std::string>& cell = next();
    good_ = good_ && cell.has_value();
    return cell ? *std::move(cell) : std::string();
  }
  std::optional<std::string> maybe_text() { return std::move(next()); }
  template <typename Number>
  Number number() {
    return read<Number>(next());
  }
  std::optional<std::int64_t> maybe_number() {
    const std::optional<std::string>& cell = next();
    return cell ? std::optional(read<std::int64_t>(cell)) : std::nullopt;
  }
  JobState state() {
    const auto found = std::find(kStates.begin(), kStates.end(), text());
    good_ = good_ && found != kStates.end();
    return good_ ? static_cast<JobState>(found - kStates.begin()) : JobState::failed;
  }

 private:
  std::optional<std::string>& next() { return row_[column_++]; }
  template <typename Number>
  Number read(const std::optional<std::string>& cell) {
    Number value{};
    const char* const end = cell ? cell->data() + cell->size() : nullptr;
    const auto read = cell ? std::from_chars(cell->data(), end, value)
                           : std::from_chars_result{nullptr, std::errc::invalid_argument};
    good_ = good_ && read.ec == std::errc() && read.ptr == end;
    return value;
  }

  Values& row_;
  std::size_t column_ = 0;
  bool good_ = true;
};

// A row of columns() (statements.cpp).
inline Result<Job> job_of(Values row) {
  CellReader cells(row);
  Job job;
  job.sequence = cells.number<std::int64_t>();
  job.id = cells.text();
  job.owner = cells.text();
  job.pool = cells.text();
  job.state = cells.state();
  job.attempt = cells.number<int>();
  job.lease = cells.number<std::int64_t>();
  job.spec = cells.text();
  job.outcome = cells.maybe_text();
  job.created = cells.number<std::int64_t>();
  job.started = cells.maybe_number();
  job.finished = cells.maybe_number();
  job.expires = cells.maybe_number();
  job.progress = cells.number<int>();
  job.worker = cells.maybe_text().value_or("");
  job.request_id = cells.maybe_text().value_or("");
  job.trace = cells.maybe_text().value_or("");
  job.priority = cells.number<int>();
  job.age = std::chrono::milliseconds(std::max<std::int64_t>(0, cells.number<std::int64_t>()));
  if (cells.good()) return job;
  log(LogLevel::error, "job_row_unreadable", {{"job", job.id}, {"sequence", job.sequence}});
  return diffused::fail(ErrorCode::data_loss, "the row of the job cannot be read");
}
inline constexpr std::size_t kRequestHashColumn = 19;  // of find_by_key

inline std::vector<Job> jobs_of(Rows rows) {
  std::vector<Job> jobs;
  for (Values& row : rows)
    if (auto job = job_of(std::move(row))) jobs.push_back(*std::move(job));
  return jobs;
}

// What enqueue answers for a row.
inline Result<Enqueued> enqueued(Values row, bool replayed) {
  TRY(Job job, job_of(std::move(row)));
  return Enqueued{std::move(job), replayed};
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
  TRY(Job job, job_of(std::move(rows.front())));
  if (owner && job.owner != *owner) return no_such_job();
  return job;
}

}  // namespace diffused::jobstore
