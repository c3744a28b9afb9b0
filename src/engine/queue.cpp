#include "engine/queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/check.h"

namespace diffused::engine {
namespace {

constexpr double kQueueRetryAfterMin = 1, kQueueRetryAfterMax = 60;  // seconds
constexpr auto kTurnedAwayMemory = std::chrono::seconds(60);         // as long as anyone is told to wait

}  // namespace

Queue::Queue(const EngineOptions& options, std::size_t models)
    : options_(options), seconds_per_flop_(models, 1 / options.initial_flops_per_second) {}

Result<Place> Queue::push(JobTicket made, SteadyTime now) {
  const std::lock_guard lock(mutex_);
  if (!open_) return tl::unexpected(draining_error());

  std::map<std::string, Backlog> backlogs;  // by user
  Backlog everyone;
  for (const Entry& entry : entries_) {
    for (Backlog* backlog : {&backlogs[entry.job->ticket.options.user], &everyone}) {
      backlog->waiting += entry.waiting() ? 1 : 0;
      ++backlog->jobs;
      backlog->seconds += seconds(entry);
    }
  }
  std::erase_if(turned_away_, [&](const auto& user) { return now - user.second > kTurnedAwayMemory; });
  for (const auto& [user, when] : turned_away_) backlogs[user];
  const std::string user = made.options.user;
  const Backlog own = backlogs[user];

  const auto for_all = seconds_until_room(everyone, 1);
  const auto for_own = seconds_until_room(own, static_cast<double>(backlogs.size()));
  if (for_all || for_own) {
    if (turned_away_.size() < options_.jobs_waiting_max) turned_away_[user] = now;
    const double wait = std::clamp(std::max(for_all.value_or(0), for_own.value_or(0)), kQueueRetryAfterMin,
                                   kQueueRetryAfterMax);
    return tl::unexpected(
        Error{ErrorCode::overloaded,
              fmt::format("The queue is full; try again in {:.0f} seconds.", std::ceil(wait)),
              {},
              "queue_full",
              std::chrono::milliseconds(std::llround(wait * 1000))});
  }
  turned_away_.erase(user);
  const Place taken = place(backlogs, user);
  entries_.push_back({std::make_shared<LiveJob>(std::move(made))});
  changed_.notify_one();
  return taken;
}

// How long until `backlog` will have shrunk below its bound, one of `users` equal parts of the whole and
// worked off at that part of the device's speed; nothing if it is below.
std::optional<double> Queue::seconds_until_room(const Backlog& backlog, double users) const {
  const double jobs_max = std::max(1.0, std::floor(static_cast<double>(options_.jobs_waiting_max) / users));
  const double seconds_max = std::chrono::duration<double>(options_.work_queued_max).count() / users;
  const double jobs_over = static_cast<double>(backlog.waiting) + 1 - jobs_max;
  const double seconds_over = backlog.seconds - seconds_max;
  if (jobs_over <= 0 && seconds_over < 0) return std::nullopt;
  const double seconds_per_job =
      backlog.seconds / static_cast<double>(std::max<std::size_t>(1, backlog.jobs));
  return std::max({jobs_over * seconds_per_job, seconds_over, 0.0}) * users;
}

// Users come in by turns, so of each other user at most one job more than one's own are ahead.
Place Queue::place(const std::map<std::string, Backlog>& backlogs, const std::string& user) const {
  const std::size_t own = backlogs.at(user).waiting;
  Place place{own, 0};
  double waiting_seconds = 0, running_seconds = 0;
  std::size_t waiting = 0, rows_active = 0;
  for (const auto& [other, backlog] : backlogs)
    if (other != user) place.position += std::min(backlog.waiting, own + 1);
  for (const Entry& entry : entries_) {
    waiting += entry.waiting() ? 1 : 0;
    rows_active += entry.rows_active();
    (entry.waiting() ? waiting_seconds : running_seconds) += seconds(entry);
  }
  if (waiting > 0)
    place.estimated_start_seconds =
        waiting_seconds * static_cast<double>(place.position) / static_cast<double>(waiting);
  if (rows_active >= options_.rows_active_max)  // someone must finish first
    place.estimated_start_seconds += running_seconds / static_cast<double>(rows_active);
  return place;
}

void Queue::close(SteadyTime deadline) {
  const std::lock_guard lock(mutex_);
  close_deadline_ = open_ ? deadline : std::min(deadline, close_deadline_);
  open_ = false;
  changed_.notify_one();
}

QueueCounts Queue::counts() const {
  const std::lock_guard lock(mutex_);
  QueueCounts counts;
  counts.open = open_;
  counts.by_model.resize(seconds_per_flop_.size());
  for (const Entry& entry : entries_) {
    for (QueueLoad* load : {static_cast<QueueLoad*>(&counts), &counts.by_model[entry.job->ticket.model]}) {
      ++(entry.waiting() ? load->jobs_waiting : load->jobs_running);
      load->rows_active += entry.rows_active();
      load->queued_seconds += seconds(entry);
    }
  }
  return counts;
}

std::vector<WorkStatus> Queue::work(SteadyTime now) const {
  const std::lock_guard lock(mutex_);
  std::vector<WorkStatus> work;
  for (const Entry& entry : entries_) {
    const JobTicket& ticket = entry.job->ticket;
    const double done = ticket.cost_flops > 0 ? 1 - entry.job->remaining_flops / ticket.cost_flops : 0;
    work.push_back({.id = ticket.id,
                    .user = ticket.options.user,
                    .model = ticket.request.model,
                    .pictures = ticket.request.n(),
                    .running = !entry.waiting(),
                    .share_done = std::clamp(done, 0.0, 1.0),
                    .seconds_since_submit = std::chrono::duration<double>(now - ticket.submitted).count(),
                    .seconds_left = seconds(entry)});
  }
  return work;
}

bool Queue::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !entries_.empty() || !open_; });
  return !entries_.empty();
}

Intake Queue::take(SteadyTime now) {
  const std::lock_guard lock(mutex_);
  Intake intake;
  std::erase_if(entries_, [&](const Entry& entry) {
    auto error = due_end(entry, now);
    if (error) intake.ended.push_back({entry.job, *std::move(error)});
    return error.has_value();
  });
  leave_out(intake.left_out);
  start_rows(intake.starts);
  return intake;
}

void Queue::leave_out(std::vector<Intake::LeftOut>& left_out) {
  for (Entry& entry : entries_) {
    std::size_t pictures = 0;
    for (; entry.rows_begun < entry.job->ticket.request.n() &&
           entry.job->ticket.to_be_finished(entry.rows_begun);
         ++entry.rows_begun, ++entry.rows_ended)
      ++pictures;
    if (pictures > 0) left_out.push_back({entry.job, pictures});
  }
}

std::optional<Error> Queue::due_end(const Entry& entry, SteadyTime now) const {
  if (entry.job->ticket.cancelled->load())
    return Error{ErrorCode::cancelled, "The request was cancelled.", {}, {}};
  if (now >= entry.job->ticket.options.deadline)
    return Error{ErrorCode::deadline, "The time given for the request ran out.", {}, {}};
  if (open_) return std::nullopt;
  if (entry.waiting()) return draining_error();
  if (now < close_deadline_) return std::nullopt;
  return Error{ErrorCode::cancelled, "The server shut down before the request was done.", {}, "shutdown"};
}

void Queue::start_rows(std::vector<Intake::Start>& starts) {
  struct Candidate {
    Entry* entry;
    std::size_t* user_rows;
    std::size_t* flow_rows;
  };
  std::map<std::string, std::size_t> rows_by_user;
  std::map<Flow, std::size_t> rows_by_flow;
  std::vector<Candidate> candidates;
  std::size_t active = 0;
  for (Entry& entry : entries_) {
    const Flow flow = entry.job->ticket.flow();
    std::size_t& user_rows = rows_by_user[flow.user] += entry.rows_active();
    std::size_t& flow_rows = rows_by_flow[flow] += entry.rows_active();
    active += entry.rows_active();
    if (entry.rows_begun < entry.job->ticket.request.n())
      candidates.push_back({&entry, &user_rows, &flow_rows});
  }
  for (;;) {
    const std::size_t free = options_.rows_active_max - std::min(active, options_.rows_active_max);
    const Candidate* next = nullptr;
    for (const Candidate& candidate : candidates) {
      const bool may = *candidate.user_rows == 0 || *candidate.flow_rows < free;
      if (!may || candidate.entry->rows_begun == candidate.entry->job->ticket.request.n()) continue;
      if (!next ||
          std::tie(*candidate.user_rows, *candidate.flow_rows) < std::tie(*next->user_rows, *next->flow_rows))
        next = &candidate;
    }
    if (!next) return;
    starts.push_back({next->entry->job, next->entry->rows_begun++});
    ++*next->user_rows;
    ++*next->flow_rows;
    ++active;
  }
}

void Queue::row_ended(const LiveJob& job) {
  const std::lock_guard lock(mutex_);
  ++find(job)->rows_ended;
}

void Queue::remove(const LiveJob& job) {
  const std::lock_guard lock(mutex_);
  entries_.erase(find(job));
}

void Queue::set_seconds_per_flop(std::size_t model, double seconds_per_flop) {
  const std::lock_guard lock(mutex_);
  seconds_per_flop_[model] = seconds_per_flop;
}

double Queue::seconds_per_flop(std::size_t model) const {
  const std::lock_guard lock(mutex_);
  return seconds_per_flop_[model];
}

std::vector<Queue::Entry>::iterator Queue::find(const LiveJob& job) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.job.get() == &job; });
  CHECK(found != entries_.end());
  return found;
}

double Queue::seconds(const Entry& entry) const {
  return entry.job->remaining_flops.load(std::memory_order_relaxed) *
         seconds_per_flop_[entry.job->ticket.model];
}

Error Queue::draining_error() const {
  return {ErrorCode::unavailable,
          "The server is shutting down; try again.",
          {},
          "draining",
          options_.drain_retry_after};
}

}  // namespace diffused::engine
