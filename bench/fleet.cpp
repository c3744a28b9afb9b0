// Ten thousand workers on one job store, in simulated time: ./dev bench fleet [--workers 10000] [--seed 1]
//
// The store is the real one, a SQLite file with a clock that the simulation turns; only the workers and the
// work are made up. They do as api/background.cpp does: claim when a job has ended, when they hear of a new
// one, and every two seconds; renew, reap and expire every five. Some die in the middle of a job, and some of
// those come back when their lease has gone. Printed: how long jobs wait for their claim, what owners get
// when there is too much to do, what the database does each second beside the arithmetic of 3 writes a job
// and one for each running job every five seconds; and whether every job has ended exactly once.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <random>
#include <vector>

#include "jobstore/sqlite_job_store.h"
#include "support/fake_clock.h"

namespace {

using namespace diffused;
using namespace diffused::jobstore;

constexpr double kTick = 0.01;
constexpr double kPoll = 2, kRenew = 5, kHint = 0.05;  // seconds, as of the server
constexpr double kDeadFor = 30, kAsleepFor = 20;       // longer than a lease
constexpr int kPositions = 100'000'000;

struct Settings {
  int workers = 10'000;
  int owners = 10;
  double service = 4;      // seconds of a job on average
  double deaths = 0.0005;  // share of the workers that die in a second
  double sleepers = 0.1;   // share of the dead that only slept
  bool hints = true;
  unsigned seed = 1;
};

// The calls of one moment; the store answers them on its own thread.
class Moment {
 public:
  template <typename T, typename Then>
  Reply<T> reply(Then then) {
    ++left_;
    return [this, then](Result<T> result) {
      if (!result) fmt::print(stderr, "{}\n", result.error().message);
      if (!result) std::exit(1);
      then(*std::move(result));
      if (--left_ == 0) left_.notify_all();
    };
  }
  void wait() {
    for (int left = left_; left != 0; left = left_) left_.wait(left);
  }

 private:
  std::atomic<int> left_ = 0;
};

struct Worker {
  Lease lease;  // of the job that it works on; none: number 0
  int job = 0;
  double until = 0;  // when the job is done
  double poll = 0, renew = 0;
  double back = 0;  // it is dead until then
  bool slept = false;
  bool wants = false;  // to claim, now
};

struct Work {
  int owner = 0;
  double cost = 1;
  double added = 0;
  double waited = -1;  // for its first claim
  int ends = 0;
};

// What happened in some seconds.
struct Figures {
  double seconds = 0;
  std::int64_t added = 0, claimed = 0, claims_of_nothing = 0, renewed = 0, ended = 0, reaped = 0, fenced = 0,
               looks = 0, deaths = 0;
  std::vector<double> waits;
  std::vector<double> owner_cost;
};

class Fleet {
 public:
  Fleet(const Settings& settings, JobStore& store, test::FakeClock& clock)
      : settings_(settings),
        store_(store),
        clock_(clock),
        chance_(settings.seed),
        workers_(settings.workers) {
    for (Worker& worker : workers_) {
      worker.poll = uniform() * kPoll;
      worker.renew = uniform() * kRenew;
    }
  }

  // `load`: work that comes in, as a share of what all workers can do.
  Figures run(double seconds, double load) {
    Figures figures;
    figures_ = &figures;
    figures.seconds = seconds;
    figures.owner_cost.resize(static_cast<std::size_t>(settings_.owners));
    for (const double end = clock_.seconds() + seconds; clock_.seconds() < end;) {
      clock_.advance(kTick);
      now_ = clock_.seconds();
      add_work(load);
      go_on();
      moment_.wait();
      claim();
      if (load > 0) let_some_die();
    }
    figures_ = nullptr;
    return figures;
  }
  const std::vector<Work>& work() const { return work_; }
  std::int64_t unfinished() const {
    return std::count_if(work_.begin(), work_.end(), [](const Work& work) { return work.ends != 1; });
  }

 private:
  double uniform() { return std::uniform_real_distribution<double>()(chance_); }

  void add_work(double load) {
    const double rate = load * settings_.workers / settings_.service * kTick;
    const int count = rate > 0 ? std::poisson_distribution<int>(rate)(chance_) : 0;
    for (int i = 0; i < count; ++i) {
      // Half of the owners send one and a half times as much as the others.
      const int place = static_cast<int>(uniform() * 2.5 * settings_.owners);
      const int owner =
          place < settings_.owners ? place / 2 : settings_.owners / 2 + (place - settings_.owners) / 3;
      constexpr std::array kCosts{0.5, 1.0, 1.5};
      const double cost = kCosts[static_cast<std::size_t>(uniform() * kCosts.size())];
      NewJob job;
      job.id = fmt::format("job_{}", kPositions + static_cast<int>(work_.size()));
      job.owner = fmt::format("owner{}", std::min(owner, settings_.owners - 1));
      job.pool = "model";
      job.cost = cost;
      job.spec = "{}";
      work_.push_back({std::min(owner, settings_.owners - 1), cost, now_});
      store_.enqueue(std::move(job), moment_.reply<Enqueued>([](const Enqueued&) {}));
    }
    figures_->added += count;
    news_ = news_ || count > 0;
  }

  void go_on() {
    for (Worker& worker : workers_) {
      if (now_ < worker.back) continue;
      if (worker.lease.number != 0 && now_ >= worker.until) {
        store_.succeed(worker.lease, "{}", moment_.reply<bool>([this, job = worker.job](bool held) {
          ++(held ? figures_->ended : figures_->fenced);
          if (held) ++work_[static_cast<std::size_t>(job)].ends;
        }));
        worker.lease = {};
        worker.wants = true;
      }
      if (now_ >= worker.renew) {
        worker.renew += kRenew * std::ceil((now_ - worker.renew) / kRenew + 1e-9);
        keep_leases(worker);
      }
      if (now_ >= worker.poll) worker.wants = true;
    }
  }

  void keep_leases(const Worker& worker) {
    if (worker.lease.number != 0)
      store_.renew(worker.lease, 50, moment_.reply<bool>([this](bool held) { figures_->renewed += held; }));
    store_.reap(moment_.reply<std::vector<Job>>([this](const std::vector<Job>& jobs) {
      figures_->reaped += static_cast<std::int64_t>(jobs.size());
    }));
    store_.expire(moment_.reply<std::int64_t>([](std::int64_t) {}));
    figures_->looks += 2;
  }

  void claim() {
    const bool hint = settings_.hints && news_ && now_ >= last_hint_ + kHint;
    if (hint) {
      last_hint_ = now_;
      news_ = false;
    }
    for (Worker& worker : workers_) {
      if (now_ < worker.back || worker.lease.number != 0 || !(worker.wants || hint)) continue;
      worker.wants = false;
      worker.poll = now_ + kPoll;
      store_.claim({{"model"}, 1, "fleet"},
                   moment_.reply<std::vector<Job>>([&](const std::vector<Job>& jobs) {
                     if (jobs.empty()) ++figures_->claims_of_nothing;
                     if (!jobs.empty()) begin(worker, jobs.front());
                   }));
    }
    moment_.wait();
  }

  // On the store's thread, while the other one waits.
  void begin(Worker& worker, const Job& job) {
    ++figures_->claimed;
    worker.lease = {job.id, job.lease};
    worker.job = std::stoi(job.id.substr(4)) - kPositions;
    Work& work = work_[static_cast<std::size_t>(worker.job)];
    worker.until = now_ + settings_.service * work.cost;
    if (work.waited >= 0) return;
    work.waited = now_ - work.added;
    figures_->waits.push_back(work.waited);
    figures_->owner_cost[static_cast<std::size_t>(work.owner)] += work.cost;
  }

  void let_some_die() {
    const int count = std::poisson_distribution<int>(settings_.deaths * settings_.workers * kTick)(chance_);
    for (int i = 0; i < count; ++i) {
      Worker& worker = workers_[static_cast<std::size_t>(uniform() * settings_.workers)];
      if (now_ < worker.back) continue;
      ++figures_->deaths;
      // Who slept goes on with the job it had; whoever died comes back as somebody new.
      const bool sleeps = uniform() < settings_.sleepers;
      worker.back = now_ + (sleeps ? kAsleepFor : kDeadFor);
      if (!sleeps) worker.lease = {};
    }
  }

  const Settings settings_;
  JobStore& store_;
  test::FakeClock& clock_;
  std::mt19937_64 chance_;
  std::vector<Worker> workers_;
  std::vector<Work> work_;
  Moment moment_;
  Figures* figures_ = nullptr;
  double now_ = 0, last_hint_ = 0;
  bool news_ = false;
};

double part(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<std::size_t>(share * static_cast<double>(values.size())))];
}

void print(const char* name, const Figures& figures, int workers, double real_seconds) {
  const auto rate = [&](std::int64_t count) { return static_cast<double>(count) / figures.seconds; };
  const double writes =
      rate(figures.added + figures.claimed + figures.renewed + figures.ended + figures.reaped);
  fmt::print("{}: {:.0f} s in {:.0f} s\n", name, figures.seconds, real_seconds);
  fmt::print("  a job waits {:.2f} s (median), {:.2f} s (p99) for its claim; {:.0f} jobs/s end\n",
             part(figures.waits, 0.5), part(figures.waits, 0.99), rate(figures.ended));
  const double arithmetic = rate(figures.added) + 2 * rate(figures.ended) + workers / 5.0;
  fmt::print("  rows written: {:.0f}/s; by arithmetic {:.0f} added + 2 x {:.0f} ended + {} / 5 = {:.0f}\n",
             writes, rate(figures.added), rate(figures.ended), workers, arithmetic);
  fmt::print(
      "  and statements that change nothing: {:.0f}/s claims, {:.0f}/s looks for what ran out or expired\n",
      rate(figures.claims_of_nothing), rate(figures.looks));
  fmt::print("  {} workers died or slept, {} leases ran out, {} late results fenced off\n", figures.deaths,
             figures.reaped, figures.fenced);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  double seconds = 40;
  CLI::App program("Ten thousand workers on one job store, in simulated time", "bench_fleet");
  program.add_option("--workers", settings.workers);
  program.add_option("--owners", settings.owners);
  program.add_option("--service", settings.service, "seconds of a job on average");
  program.add_option("--seconds", seconds, "simulated, of each part");
  program.add_option("--seed", settings.seed);
  program.add_flag("!--no-hints", settings.hints, "workers look every two seconds only");
  CLI11_PARSE(program, argc, argv);

  std::string folder = std::filesystem::temp_directory_path() / "diffused_bench_XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return 1;
  bool good = true;
  {
    test::FakeClock clock;
    StoreOptions options;
    options.calls_waiting_max = 1'000'000;
    options.attempts_max = 100;
    const auto store = open_sqlite_job_store(folder + "/jobs.db", options, clock).value();
    Fleet fleet(settings, *store, clock);
    const auto timed = [&](double span, double load) {
      const auto start = std::chrono::steady_clock::now();
      const Figures figures = fleet.run(span, load);
      return std::pair(figures,
                       std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    };
    fleet.run(3 * settings.service, 0.9);
    const auto [usual, usual_real] = timed(seconds, 0.9);
    print("nine tenths of what the workers can do", usual, settings.workers, usual_real);
    fleet.run(3 * settings.service, 1.5);
    const auto [much, much_real] = timed(seconds, 1.5);
    print("one and a half times what they can do", much, settings.workers, much_real);
    const auto [least, most] = std::minmax_element(much.owner_cost.begin(), much.owner_cost.end());
    double all = 0;
    for (const double cost : much.owner_cost) all += cost;
    fmt::print("  owners got {:.3f} to {:.3f} of an equal share\n", *least * settings.owners / all,
               *most * settings.owners / all);
    good = *least > 0.95 * all / settings.owners && *most < 1.05 * all / settings.owners;
    double rest = 0;
    for (; fleet.unfinished() > 0 && rest < 600; rest += 10) fleet.run(10, 0);
    fmt::print("{} jobs, {} of them have not ended exactly once\n", fleet.work().size(), fleet.unfinished());
    good = good && fleet.unfinished() == 0;
  }
  std::filesystem::remove_all(folder);
  return good ? 0 : 1;
}
