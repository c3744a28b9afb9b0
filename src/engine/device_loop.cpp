#include "engine/device_loop.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "base/check.h"
#include "engine/guard.h"

namespace diffused::engine {
namespace {

double seconds_between(SteadyTime start, SteadyTime end) {
  return std::chrono::duration<double>(end - start).count();
}

SteadyTime::duration to_duration(double seconds) {
  return std::chrono::duration_cast<SteadyTime::duration>(std::chrono::duration<double>(seconds));
}

// How long a unit runs before others are looked after: long beside what the look costs, short beside what
// anybody notices.
constexpr double kSliceSeconds = 0.002;
// How long a unit may be, by estimate, to run inside another, of that one's estimate.
constexpr double kInsidePart = 0.5;
// How many units may be on their way at once, each inside the one before: their activations are all in
// memory.
constexpr int kDepthMax = 3;

}  // namespace

DeviceLoop::DeviceLoop(const EngineOptions& options, Queue& queue, const Clock& clock,
                       EngineObserver& observer)
    : options_(options),
      queue_(queue),
      clock_(clock),
      observer_(observer),
      costs_(options.batch_rows_max, options.initial_flops_per_second),
      last_unit_end_(clock.now()) {}

DeviceLoop::~DeviceLoop() { CHECK(rows_.empty()); }

// Keeps rows from being swept out while they are in a unit.
class DeviceLoop::Kept {
 public:
  explicit Kept(const Members& members) : members_(members) {
    for (ActiveRow* const active : members_) active->running = true;
  }
  ~Kept() {
    for (ActiveRow* const active : members_) active->running = false;
  }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;

 private:
  const Members& members_;
};

// Halts work elsewhere from begin() on, until its own end.
class DeviceLoop::Halt {
 public:
  explicit Halt(WorkElsewhere* work) : work_(work) {}
  ~Halt() {
    if (halted_) work_->resume();
  }
  Halt(const Halt&) = delete;
  Halt& operator=(const Halt&) = delete;
  void begin() {
    if (work_ != nullptr && !std::exchange(halted_, true)) work_->halt();
  }

 private:
  WorkElsewhere* const work_;
  bool halted_ = false;
};

bool DeviceLoop::turn() {
  const bool began = admit();
  if (rows_.empty()) {
    turns_ = {};
    return began;  // and was done at once: there may be more
  }
  const Members rows = present();
  run_planned(plan(describe(rows), costs_, turns_, options_.unit_max.count()), rows, 1);
  sweep();
  return true;
}

bool DeviceLoop::admit() {
  Intake intake = queue_.take(clock_.now());
  for (auto& [job, error] : intake.ended) {
    drop_rows(*job);
    job->fail(std::move(error), observer_);
  }
  for (const auto& [job, pictures] : intake.left_out) leave_out(*job, pictures);
  std::vector<Intake::Start> starts = std::exchange(postponed_, {});
  std::ranges::move(intake.starts, std::back_inserter(starts));
  for (Intake::Start& start : starts) {
    if (pipeline(*start.job).busy())
      postponed_.push_back(std::move(start));
    else
      begin(start);
  }
  for (ActiveRow& active : rows_)
    if (!active.gone && !active.running && !active.ending &&
        active.job->ticket.to_be_finished(active.image_index))
      finish_early(active);
  sweep();
  return !starts.empty();
}

void DeviceLoop::begin(const Intake::Start& start) {
  if (start.job->ended()) return;  // an earlier picture of it could not begin
  auto row =
      guarded([&] { return pipeline(*start.job).begin(start.job->ticket.request, start.image_index); });
  if (!row) return fail(*start.job, std::move(row).error());
  ActiveRow& active = rows_.emplace_back();
  active.job = start.job;
  active.image_index = start.image_index;
  active.row = *std::move(row);
  active.description.flow = start.job->ticket.flow();
  active.description.last_turn =
      std::max<std::uint64_t>(turns_.count, 1) - 1;  // it waited while the last unit ran
  advance(active);
}

DeviceLoop::Members DeviceLoop::present() {
  Members rows;
  for (ActiveRow& active : rows_)
    if (!active.gone || active.running) rows.push_back(&active);
  return rows;
}

std::vector<RowDescription> DeviceLoop::describe(const Members& rows) const {
  std::vector<RowDescription> descriptions;
  for (const ActiveRow* const active : rows) {
    RowDescription& description = descriptions.emplace_back(active->description);
    const JobTicket& ticket = active->job->ticket;
    description.picture_seconds =
        ticket.cost_flops / static_cast<double>(ticket.request.n()) * costs_.seconds_per_flop(ticket.model);
    if (active->running)
      description.readiness = Readiness::running;
    else if (pipeline(*active->job).busy())
      description.readiness = Readiness::barred;
  }
  return descriptions;
}

void DeviceLoop::run_planned(std::span<const std::size_t> batch, const Members& rows, int depth) {
  Members members;
  for (const std::size_t i : batch) members.push_back(rows[i]);
  for (ActiveRow* const active : members) active->description.last_turn = turns_.count;
  const Result<void> result = run(members, depth);
  if (!result) return run_again_alone(members, result.error(), depth > 1);
  for (ActiveRow* const active : members) advance(*active);
}

// Runs one unit and books it, whether it went well or not: its time has passed.
Result<void> DeviceLoop::run(const Members& members, int depth) {
  const Kept kept(members);
  const RowDescription first = members.front()->description;
  const LiveJob& first_job = *members.front()->job;
  std::vector<Row*> rows;
  std::set<LiveJob*> jobs;
  Running unit{.members = members, .flows = {}, .since = clock_.now(), .due = {}, .depth = depth};
  for (const ActiveRow* const active : members) {
    rows.push_back(active->row.get());
    jobs.insert(active->job.get());
    unit.flows.push_back(active->description.flow);
  }
  unit.estimate = costs_.seconds(first.unit, first.flops, members.size());
  const SteadyTime start = unit.since;
  unit.due = start + to_duration(std::max(std::chrono::duration<double>(options_.overdue_min).count(),
                                          unit.estimate * options_.overdue_factor));
  unit_due_ = unit.due;
  unit_running_ = true;
  const Result<void> result = guarded([&] {
    const ThreadHost host([this, &unit](WorkElsewhere* elsewhere) { let_others_go_first(unit, elsewhere); });
    pipeline(first_job).run(rows);
  });
  book(unit);
  last_unit_end_ = unit.since;
  unit_running_ = depth > 1;

  if (result) costs_.measured(first.unit, first.flops, members.size(), unit.seconds);
  queue_.set_seconds_per_flop(first.unit.model, costs_.seconds_per_flop(first.unit.model));
  observer_.unit_finished(first_job.ticket.request.model, first.unit.kind, members.size(), unit.seconds);
  for (LiveJob* job : jobs) job->add_unit(first.unit.kind, start, unit.seconds);
  for (const ActiveRow* const active : members) active->job->work_done(active->description.flops);
  return result;
}

// Charges the unit for what it has taken since it was booked last.
void DeviceLoop::book(Running& unit) {
  const SteadyTime now = clock_.now();
  const double seconds = seconds_between(unit.since, now);
  unit.since = now;
  unit.seconds += seconds;
  charge(unit.flows, seconds, turns_);
}

void DeviceLoop::let_others_go_first(Running& unit, WorkElsewhere* elsewhere) {
  if (seconds_between(unit.since, clock_.now()) < kSliceSeconds || unit.depth >= kDepthMax) return;
  book(unit);
  const ThreadHost nobody(nullptr);
  admit();
  // What goes on elsewhere would have to be called off there.
  if (!elsewhere && std::ranges::all_of(unit.members, &ActiveRow::gone)) throw GivenUp();
  Halt halt(elsewhere);
  bool any = false;
  while (run_inside(unit, halt)) any = true;
  if (!any) return;
  const SteadyTime now = clock_.now();
  unit.due += now - unit.since;
  unit.since = now;
  unit_due_ = unit.due;
}

// Runs one unit inside that one; whether there was one to run.
bool DeviceLoop::run_inside(const Running& unit, Halt& halt) {
  const Members rows = present();
  if (rows.size() == unit.members.size()) return false;
  const double longest = kInsidePart * std::max(unit.estimate, unit.seconds);
  std::vector<RowDescription> descriptions = describe(rows);
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i]->whole_turn && !rows[i]->running) descriptions[i].readiness = Readiness::barred;
  const auto batch = plan_inside(descriptions, costs_, turns_, std::min(longest, options_.unit_max.count()));
  if (batch.empty()) return false;
  halt.begin();
  run_planned(batch, rows, unit.depth + 1);
  sweep();
  return true;
}

// A row by itself answers for its failure; of several nobody knows whose it was, and inside another unit it
// may be that one's memory which lacked.
void DeviceLoop::run_again_alone(const Members& members, const Error& error, bool inside) {
  const RowDescription& first = members.front()->description;
  if (error.code == ErrorCode::out_of_memory && !inside) costs_.too_large(first.unit, members.size());
  if (members.size() == 1 && !inside) {
    if (!members.front()->gone) fail(*members.front()->job, error);
    return;
  }
  for (ActiveRow* const active : members) {
    advance(*active);
    active->description.alone = active->whole_turn = true;
  }
}

// Looks at what the row has done and needs next.
void DeviceLoop::advance(ActiveRow& active) {
  if (active.gone) return;  // its job has ended meanwhile
  const int skipped = active.row->steps_skipped() - active.steps_skipped;
  active.steps_skipped += skipped;
  active.job->work_done(skipped * active.description.flops);  // a step's: of the unit that it has just done
  const Unit next = active.row->next();
  active.description.unit = {active.job->ticket.model, next.kind, next.key};
  active.description.flops = next.cost_flops;
  active.description.alone = next.alone;
  if (active.row->step() > active.steps_told) tell_step(active);
  if (next.kind == UnitKind::done) retire(active);
}

void DeviceLoop::finish_early(ActiveRow& active) {
  const auto shown = guarded([&] { return pipeline(*active.job).finish_early(*active.row); });
  if (!shown) return fail(*active.job, shown.error());
  active.ending = true;
  if (*shown) return advance(active);
  active.gone = true;
  queue_.row_ended(*active.job);
  leave_out(*active.job, 1);
}

void DeviceLoop::leave_out(LiveJob& job, std::size_t pictures) {
  job.leave_out(pictures);
  if (!job.complete()) return;
  queue_.remove(job);
  job.finish(observer_);
}

void DeviceLoop::tell_step(ActiveRow& active) {
  const SubmitOptions& wanted = active.job->ticket.options;
  const int before = active.steps_told;
  const int step = active.steps_told = active.row->step();
  const int steps = active.row->steps();
  if (wanted.step_events) active.job->send(StepDone{active.image_index, step, steps});
  if (!preview_due(before, step, steps, wanted.previews)) return;
  auto image = guarded([&] { return pipeline(*active.job).preview(*active.row); });
  if (image) active.job->send(PreviewReady{active.image_index, step, *std::move(image)});  // else: do without
}

void DeviceLoop::retire(ActiveRow& active) {
  LiveJob& job = *active.job;
  auto image = guarded([&] { return pipeline(job).take(*active.row); });
  if (!image) return fail(job, std::move(image).error());
  active.gone = true;
  queue_.row_ended(job);
  job.send_picture(active.image_index, *std::move(image), active.steps_skipped, clock_.now());
  if (!job.complete()) return;
  queue_.remove(job);
  job.finish(observer_);
}

void DeviceLoop::fail(LiveJob& job, Error error) {
  drop_rows(job);
  queue_.remove(job);
  job.fail(std::move(error), observer_);
}

void DeviceLoop::drop_rows(const LiveJob& job) {
  for (ActiveRow& active : rows_)
    if (active.job.get() == &job) active.gone = true;
}

void DeviceLoop::sweep() {
  std::erase_if(rows_, [](const ActiveRow& active) {
    return active.gone && !active.running && !pipeline(*active.job).busy();
  });
}

Pulse DeviceLoop::pulse() const {
  const SteadyTime now = clock_.now();
  Pulse pulse;
  pulse.seconds_since_unit = seconds_between(last_unit_end_, now);
  pulse.unit_running = unit_running_;
  pulse.unit_overdue = pulse.unit_running && now > unit_due_.load();
  return pulse;
}

}  // namespace diffused::engine
