#include "app/server.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <semaphore>
#include <thread>

#include "api/errors.h"
#include "api/openai/images_response.h"
#include "api/routes.h"
#include "app/access_log.h"
#include "app/announcement.h"
#include "app/descriptors.h"
#include "app/ending.h"
#include "app/metrics.h"
#include "app/reload.h"
#include "app/service_manager.h"
#include "app/stores.h"
#include "background/joined_dispatcher.h"
#include "background/remote_dispatcher.h"
#include "base/ids.h"
#include "base/last_word.h"
#include "base/log.h"

namespace diffused::app {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace std::chrono_literals;

// How long answers that are ready may take to leave once the engine has ended.
constexpr auto kLastAnswers = 5s;
// Nothing is cut short, but nothing is waited for without an end: the unit that runs when the time to drain
// is over, and after the last answers what other threads have begun.
constexpr auto kLastUnit = 5s, kLastThreads = 5s;
constexpr auto kSweepInterval = 5s;
constexpr std::int64_t kClockJump = 60;  // seconds
// What many servers share is looked through by each.
constexpr auto kSharedSweepInterval = 1min;
// A hint takes a few of them to reach the other servers.
constexpr auto kClaimDelay = 5ms;

std::vector<std::string> names_of(const std::vector<engine::LocalModel>& models) {
  std::vector<std::string> names;
  for (const engine::LocalModel& model : models) names.push_back(model.name);
  return names;
}

// Host, process, and something that no other container with that host's name and process's number has.
std::string worker_name() {
  constexpr std::size_t kHostCharactersMax = 40;
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  return fmt::format("{}:{}:{}", std::string(host.data()).substr(0, kHostCharactersMax), ::getpid(),
                     random_id("").substr(0, 6));
}

std::string_view word_for(const Result<void>& store) {
  return store ? "ok" : store.error().reason == "storage_full" ? "full" : "failing";
}

// The server's objects in the order they depend on each other; destroyed the other way round.
class Daemon {
 public:
  Daemon(ServerSettings settings, const SystemClock& clock, Stores stores,
         std::vector<engine::LocalModel> models, Metrics& metrics)
      : settings_(std::move(settings)),
        clock_(clock),
        metrics_(metrics),
        local_(models.empty() ? nullptr
                              : std::make_unique<engine::LocalDispatcher>(std::move(models), settings_.engine,
                                                                          clock_, metrics_.engine())),
        memory_(std::make_shared<MemoryBudget>(settings_.memory_bytes_max)),
        workers_(settings_.worker_threads, settings_.worker_threads / 2),
        io_(settings_.io_threads),
        stores_(std::move(stores)),
        background_(background_parts(), background_options(), io_.get_executor()),
        elsewhere_(has_elsewhere() ? std::make_unique<background::RemoteDispatcher>(
                                         background_, io_.get_executor(), !local_)
                                   : nullptr),
        joined_(local_ && elsewhere_ ? std::make_unique<background::JoinedDispatcher>(*local_, *elsewhere_)
                                     : nullptr),
        api_{settings_.api,
             dispatcher(),
             *stores_.images,
             workers_,
             clock_,
             [this] { return health(); },
             [this] {
               metrics_.stores().refresh("images", *stores_.images);
               metrics_.stores().refresh("inputs", *stores_.inputs);
               metrics_.stores().refresh(background_.figures().upkeep);
               return metrics_.text(engine_health(),
                                    local_ ? local_->pipeline_stats() : std::vector<PipelineStats>(),
                                    http_.counters(), background_.figures());
             }},
        http_(io_, with_observer(settings_.http), api::make_routes(api_), api::respond_to_error),
        watch_(settings_.watch
                   ? std::make_unique<http::Server>(io_, *settings_.watch, api::make_watch_routes(api_),
                                                    api::respond_to_error)
                   : nullptr),
        control_(asio::make_strand(io_)),
        signals_(control_, SIGTERM, SIGINT),
        reload_(io_, parts_to_reload(), [this](auto work) { reload_on_worker(std::move(work)); }),
        leave_timer_(control_),
        sweep_timer_(control_),
        manager_(control_) {
    api_.memory = memory_;
    api_.background = &background_;
    api_.engine = local_.get();
    api_.stage_finished = stage_observer();
  }

  ~Daemon() { stores_.jobs->when_broken(nullptr); }

  Result<void> run() {
    TRY_VOID(http_.listen());
    if (watch_) {
      TRY_VOID(watch_->listen());
      log(LogLevel::info, "watched", {{"host", settings_.watch->host}, {"port", watch_->port()}});
    }
    // Here, where it may fail: at the end of a server there must be no need of another thread.
    drainer_ = std::jthread([this] { drain(); });
    background_.start();
    if (elsewhere_) elsewhere_->look_for_models();
    stores_.jobs->when_broken([this] { asio::post(control_, [this] { end_without_jobs(); }); });
    signals_.async_wait([this](boost::system::error_code error, int) {
      if (!error) begin_to_leave();
    });
    reload_.start();
    announce(settings_, http_.port());  // after the signals: who reads it may send one at once
    manager_.ready();
    manager_.watch([this] { return !engine_health().device.unit_overdue; });
    sweep_later();
    std::vector<std::jthread> io_threads;
    for (int i = 1; i < settings_.io_threads; ++i) io_threads.emplace_back([this] { run_io(); });
    run_io();
    io_threads.clear();
    workers_.join();
    log(LogLevel::info, "stopped");
    if (jobs_lost_)
      return fail(ErrorCode::unavailable, "the job store is lost; the log says how", "job_store");
    return {};
  }

 private:
  // A worker is asked for nothing but what it has.
  bool has_elsewhere() const { return !local_ || (!settings_.store.empty() && !settings_.api.probes_only); }

  Dispatcher& dispatcher() const {
    if (joined_) return *joined_;
    if (local_) return *local_;
    return *elsewhere_;
  }

  engine::Health engine_health() const { return local_ ? local_->health() : engine::Health{}; }

  std::function<void(std::string_view, background::PictureStage, double)> stage_observer() {
    return [this](std::string_view model, background::PictureStage stage, double seconds) {
      metrics_.stage_finished(model, stage, seconds);
    };
  }

  background::Parts background_parts() {
    const PictureTexts texts = settings_.api.pictures_tell ? PictureTexts::written : PictureTexts::left_out;
    return {.local = local_.get(),
            .store = *stores_.jobs,
            .inputs = *stores_.inputs,
            .pictures = {*stores_.images, clock_, texts, stage_observer()},
            .workers = workers_,
            .clock = clock_,
            .memory = memory_,
            .version = settings_.api.version};
  }

  background::Options background_options() {
    background::Options options = settings_.background;
    options.describe = api::images_object;
    options.picture_lifetime = settings_.jobs.lifetime;
    if (!settings_.store.empty()) options.claim_delay = kClaimDelay;
    if (!local_) options.jobs_running_max = 0;
    options.worker = settings_.worker;
    options.observer = metrics_.background();
    options.device_moves = [this] { return !engine_health().device.unit_overdue; };
    return options;
  }

  http::ServerOptions with_observer(http::ServerOptions options) {
    options.observer = std::make_shared<AccessLog>(metrics_.http());
    options.memory = memory_;
    return options;
  }

  api::Health health() const {
    const engine::Health engine = engine_health();
    api::Health health;
    const auto pictures = stores_.images->check_room(), inputs = stores_.inputs->check_room();
    health.ready = !leaving_ && !engine.device.unit_overdue;
    health.degraded = !stores_.jobs->healthy() || !pictures || !inputs;
    // A gateway makes nothing by itself.
    const auto models = elsewhere_ ? elsewhere_->model_states() : std::vector<std::pair<std::string, bool>>();
    const bool there = std::ranges::any_of(models, &std::pair<std::string, bool>::second);
    if (!local_) health.ready = health.ready && stores_.jobs->healthy() && there;
    health.checks = {{"draining", leaving_.load()},
                     {"seconds_since_unit", engine.device.seconds_since_unit},
                     {"unit_overdue", engine.device.unit_overdue},
                     {"jobs_waiting", engine.queue.jobs_waiting},
                     {"jobs_running", engine.queue.jobs_running + (elsewhere_ ? elsewhere_->under_way() : 0)},
                     {"job_store", stores_.jobs->healthy() ? "ok" : "failing"},
                     {"picture_store", word_for(pictures)},
                     {"input_store", word_for(inputs)},
                     {"background_jobs_queued", background_.counts().queued},
                     {"background_jobs_running", background_.counts().running}};
    json::object states;
    for (const auto& [name, now] : models) states[name] = now ? "served" : "away";
    if (elsewhere_) health.checks["models"] = std::move(states);
    return health;
  }

  // What a handler throws, for want of memory, is lost with what it was for; the others go on.
  void run_io() {
    while (true) {
      try {
        io_.run();
        return;
      } catch (const std::exception&) {
        log_fault("io_fault", std::current_exception());
      }
    }
  }

  // The jobs that run could not be ended, nor others be promised: a new start reads what is there.
  void end_without_jobs() {
    jobs_lost_ = true;
    leaving_ = true;
    http_.retire();
    begin_drain(settings_.drain_timeout);
  }

  // Whoever sends requests here is to notice first: until it has, all goes on as before.
  void begin_to_leave() {
    leaving_ = true;
    manager_.stopping();
    http_.retire();
    signals_.async_wait([](boost::system::error_code error, int) {
      if (!error) std::_Exit(128 + SIGTERM);
    });
    if (settings_.drain_delay == 0ms) return begin_drain(settings_.drain_timeout);
    log(LogLevel::info, "leaving",
        {{"delay_seconds", std::chrono::duration<double>(settings_.drain_delay).count()}});
    leave_timer_.expires_after(settings_.drain_delay);
    leave_timer_.async_wait([this](boost::system::error_code error) {
      if (!error && !draining_) asio::co_spawn(control_, answer_what_came(), or_end);
    });
  }

  // Nothing more comes in; all that has come is answered, and then the engine may end.
  asio::awaitable<void> answer_what_came() {
    log(LogLevel::info, "answering_the_last");
    answering_the_last_ = true;
    background_.send_watchers_away();
    const SteadyTime end = clock_.now() + settings_.drain_timeout;
    leave_timer_.expires_after(settings_.drain_timeout);
    leave_timer_.async_wait([this](boost::system::error_code error) {
      if (!error) begin_drain(0ms);
    });
    co_await http_.drain(settings_.drain_timeout + kLastAnswers);
    leave_timer_.cancel();
    begin_drain(time_until(end));
  }

  // The engine first, so that running pictures are still answered; a thread of its own waits for it.
  void begin_drain(std::chrono::milliseconds timeout) {
    if (draining_.exchange(true)) return;
    background_.stop();
    log(LogLevel::info, "draining", {{"timeout_seconds", std::chrono::duration<double>(timeout).count()}});
    drain_timeout_ = timeout;
    drain_wanted_.release();
  }

  void drain() {
    drain_wanted_.acquire();
    const SteadyTime end = clock_.now() + drain_timeout_;
    last_resort_ = std::jthread(end_after, std::chrono::ceil<std::chrono::seconds>(drain_timeout_) +
                                               kLastUnit + kLastAnswers + kLastThreads);
    if (local_) {
      local_->close(time_until(end));
      local_->wait_for_end(time_until(end) + kLastUnit);
    }
    if (elsewhere_) elsewhere_->drain(time_until(end));
    asio::co_spawn(control_, finish(), or_end);
  }

  std::chrono::milliseconds time_until(SteadyTime end) const {
    return std::max(0ms, std::chrono::ceil<std::chrono::milliseconds>(end - clock_.now()));
  }

  asio::awaitable<void> finish() {
    if (!answering_the_last_) co_await http_.drain(kLastAnswers);
    if (watch_) co_await watch_->drain(kLastAnswers);  // the last, so that the end can be watched
    signals_.cancel();
    reload_.stop();
    sweep_timer_.cancel();
    manager_.stop_watching();
  }

  void reload_on_worker(std::function<void()> work) {
    workers_.post(Lane::quick, kOwnWork, [this, work = std::move(work)] {
      manager_.reloading();
      work();
      manager_.ready();
    });
  }

  std::vector<Reload::Part> parts_to_reload() {
    std::vector<Reload::Part> parts;
    if (settings_.reload_keys) parts.push_back({"keys", settings_.reload_keys});
    if (settings_.reload_limits) parts.push_back({"limits", settings_.reload_limits});
    if (settings_.http.tls) parts.push_back({"certificate", [this] { return http_.reload_certificate(); }});
    return parts;
  }

  // One sweep after the other, on a thread of their own: one may take as long as another server lets it. What
  // many servers share is looked through more rarely, unless it does not work at present.
  void sweep_later() {
    if (draining_) return;
    sweep_timer_.expires_after(kSweepInterval);
    sweep_timer_.async_wait([this](boost::system::error_code error) {
      if (error) return;
      notice_clock();
      const bool works = stores_.images->check_room() && stores_.inputs->check_room();
      if (!settings_.blobs.empty() && works && clock_.now() < next_sweep_) return sweep_later();
      next_sweep_ = clock_.now() + kSharedSweepInterval;
      asio::post(sweeper_, [this] {
        try {
          stores_.images->sweep();
          stores_.inputs->sweep();
        } catch (const std::exception&) {
          log_fault("sweep_fault", std::current_exception());
        }
        asio::post(control_, [this] { sweep_later(); });
      });
    });
  }

  // Somebody has set the machine's clock: what is kept is kept as long as before, but people see its times.
  void notice_clock() {
    const std::int64_t ahead = clock_.unix_seconds() - clock_.lifetime_seconds();
    const std::int64_t jumped = ahead - std::exchange(clock_ahead_, ahead);
    if (std::abs(jumped) > kClockJump) log(LogLevel::warning, "clock_jumped", {{"seconds", jumped}});
  }

  std::jthread last_resort_;  // the first, as it waits for the end of all others
  const ServerSettings settings_;
  const SystemClock& clock_;
  Metrics& metrics_;
  const std::unique_ptr<engine::LocalDispatcher> local_;  // null: a gateway
  const std::shared_ptr<MemoryBudget> memory_;
  Workers workers_;
  asio::io_context io_;
  const Stores stores_;  // after io_, which their last replies go to
  background::Background background_;
  const std::unique_ptr<background::RemoteDispatcher> elsewhere_;  // what other servers on the store make
  const std::unique_ptr<background::JoinedDispatcher> joined_;     // of the two; null where there is one
  api::Api api_;
  http::Server http_;
  const std::unique_ptr<http::Server> watch_;                    // null: there is no second address
  const asio::strand<asio::io_context::executor_type> control_;  // of the signals, the sweeps and the end
  asio::signal_set signals_;
  Reload reload_;
  asio::steady_timer leave_timer_;
  asio::steady_timer sweep_timer_;
  ServiceManager manager_;
  SteadyTime next_sweep_;
  std::atomic<bool> leaving_ = false;   // for those who send requests here
  std::atomic<bool> draining_ = false;  // what comes now is refused
  bool answering_the_last_ = false;     // on control_
  std::int64_t clock_ahead_ = 0;        // on control_, of the lifetimes' clock
  bool jobs_lost_ = false;              // on control_
  std::binary_semaphore drain_wanted_{0};
  std::chrono::milliseconds drain_timeout_{0};  // set when it is wanted
  std::jthread drainer_;
  asio::thread_pool sweeper_{1};  // the last, as it uses the others
};

}  // namespace

Result<void> run_server(ServerSettings settings, std::vector<engine::LocalModel> models) {
  // What is kept here is its owner's: prompts, pictures.
  ::umask(077);
  const SystemClock clock;
  Metrics metrics(names_of(models), settings.api.version);
  settings.worker = worker_name();
  settings.jobs.answered = [counts = metrics.background()](bool changes, double seconds, bool well) {
    counts->store_answered(changes, seconds, well);
  };
  TRY(Stores stores, open_stores(settings, clock));
  fit_to_descriptors(settings.http.limits);
  Daemon daemon(std::move(settings), clock, std::move(stores), std::move(models), metrics);
  return daemon.run();
}

}  // namespace diffused::app
