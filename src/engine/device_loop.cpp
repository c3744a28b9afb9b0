#include "engine/device_loop.h"

#include <algorithm>
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

bool DeviceLoop::turn() {
  const bool began = admit();
  if (rows_.empty()) {
    turns_ = {};
    return began;  // and was done at once: there may be more
  }
  std::vector<RowDescription> rows;
  for (const ActiveRow& active : rows_) rows.push_back(active.description);
  const std::vector<std::size_t> batch = plan(rows, costs_, turns_, options_.unit_max.count());

  const Result<void> result = run(rows, batch);
  for (const std::size_t i : batch) rows_[i].description.last_turn = turns_.count;
  if (result)
    for (const std::size_t i : batch) advance(rows_[i]);
  else
    run_again_alone(batch, result.error());
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
  for (const Intake::Start& start : intake.starts) begin(start);
  for (ActiveRow& active : rows_)
    if (active.row != nullptr && !active.ending && active.job->ticket.to_be_finished(active.image_index))
      finish_early(active);
  sweep();
  return !intake.starts.empty();
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

// Runs one unit and books it, whether it went well or not: its time has passed.
Result<void> DeviceLoop::run(std::span<const RowDescription> rows, std::span<const std::size_t> batch) {
  const RowDescription& first = rows[batch.front()];
  const LiveJob& first_job = *rows_[batch.front()].job;
  std::vector<Row*> members;
  std::set<LiveJob*> jobs;
  for (const std::size_t i : batch) {
    members.push_back(rows_[i].row.get());
    jobs.insert(rows_[i].job.get());
  }

  const SteadyTime start = clock_.now();
  const double estimate = costs_.seconds(first.unit, first.flops, batch.size());
  const double due = std::max(std::chrono::duration<double>(options_.overdue_min).count(),
                              estimate * options_.overdue_factor);
  unit_due_ = start + to_duration(due);
  unit_running_ = true;
  const Result<void> result = guarded([&] { pipeline(first_job).run(members); });
  const SteadyTime end = clock_.now();
  last_unit_end_ = end;
  unit_running_ = false;

  const double seconds = seconds_between(start, end);
  charge(rows, batch, seconds, turns_);
  if (result) costs_.measured(first.unit, first.flops, batch.size(), seconds);
  queue_.set_seconds_per_flop(first.unit.model, costs_.seconds_per_flop(first.unit.model));
  observer_.unit_finished(first_job.ticket.request.model, first.unit.kind, batch.size(), seconds);
  for (LiveJob* job : jobs) job->add_unit(first.unit.kind, start, seconds);
  for (const std::size_t i : batch) rows_[i].job->work_done(rows[i].flops);
  return result;
}

// A row by itself answers for its failure; of several nobody knows whose it was.
void DeviceLoop::run_again_alone(std::span<const std::size_t> batch, const Error& error) {
  const RowDescription& first = rows_[batch.front()].description;
  if (error.code == ErrorCode::out_of_memory) costs_.too_large(first.unit, batch.size());
  if (batch.size() == 1) return fail(*rows_[batch.front()].job, error);
  for (const std::size_t i : batch) {
    if (rows_[i].row == nullptr) continue;
    advance(rows_[i]);
    rows_[i].description.alone = true;
  }
}

// Looks at what the row has done and needs next.
void DeviceLoop::advance(ActiveRow& active) {
  if (active.row == nullptr) return;  // its job has just failed
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
  active.row.reset();
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
  active.row.reset();
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
    if (active.job.get() == &job) active.row.reset();
}

void DeviceLoop::sweep() {
  std::erase_if(rows_, [](const ActiveRow& active) { return active.row == nullptr; });
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
