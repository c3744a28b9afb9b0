// Requests of a server without models: made through the job store by one that has them.
#include "background/remote_dispatcher.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <condition_variable>
#include <future>
#include <thread>

#include "background/background.h"
#include "background/joined_dispatcher.h"
#include "background/model_announcement.h"
#include "jobstore/sqlite_job_store.h"
#include "storage/memory_store.h"
#include "support/fake_clock.h"
#include "support/fake_dispatcher.h"
#include "support/files.h"

namespace diffused::background {
namespace {

using namespace std::chrono_literals;

TEST(ModelAnnouncement, ComesBackAsItWas) {
  ServedModel model{"demo", {"dall-e-3", "other"}, 1, small_model_info()};
  model.info.references_max = 3;
  const auto read = read_model(write_model(model));
  ASSERT_TRUE(read);
  EXPECT_EQ(write_model(*read), write_model(model));
  EXPECT_EQ(read->aliases, model.aliases);
  EXPECT_EQ(read->info.schedulers, model.info.schedulers);
  EXPECT_EQ(read->info.loras, model.info.loras);
  EXPECT_EQ(read->info.lora_aliases, model.info.lora_aliases);
  EXPECT_EQ(read->info.embeddings, model.info.embeddings);
  EXPECT_EQ(read->info.parameters, model.info.parameters);
  EXPECT_EQ(read->info.default_guidance_scale, model.info.default_guidance_scale);
  EXPECT_TRUE(read->info.image_to_image && read->info.inpaint && read->info.flow_shift);
  EXPECT_EQ(read->info.references_max, model.info.references_max);
  for (const char* damaged : {"", "[]", "{}", R"({"size_multiple": 8, "schedulers": 1})",
                              R"({"size_multiple": 0, "schedulers": ["x"]})"})
    EXPECT_FALSE(read_model(damaged)) << damaged;
}

// What a sink is told, on whatever thread.
class Told {
 public:
  EventSink sink() {
    return [this](Event event) {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
      more_.notify_all();
    };
  }
  // All events, once the last has come.
  const std::vector<Event>& until_the_end() {
    std::unique_lock lock(mutex_);
    more_.wait(lock, [this] {
      return !events_.empty() && (std::holds_alternative<JobDone>(events_.back()) ||
                                  std::holds_alternative<JobFailed>(events_.back()));
    });
    return events_;
  }
  Error failure() {
    const auto* failed = std::get_if<JobFailed>(&until_the_end().back());
    EXPECT_NE(failed, nullptr);
    return failed == nullptr ? Error{} : failed->error;
  }
  template <typename Kind>
  std::vector<Kind> all() {
    std::vector<Kind> found;
    for (const Event& event : until_the_end())
      if (const auto* kind = std::get_if<Kind>(&event)) found.push_back(*kind);
    return found;
  }

 private:
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<Event> events_;
};

// A server that has the model, and a dispatcher without one that shares its store.
class RemoteDispatch : public testing::Test {
 protected:
  RemoteDispatch() {
    store_ = *jobstore::open_sqlite_job_store(folder_.path() / "jobs.db", {}, clock);
    background_ = std::make_unique<Background>(
        Parts{&dispatcher, *store_, inputs_, {images, clock}, workers, clock, nullptr, "0.0"}, Options{},
        io_.get_executor());
    front_dispatcher_ = std::make_unique<RemoteDispatcher>(*background_, io_.get_executor());
    dispatcher.on_submit = [this] {
      const std::lock_guard lock(mutex_);
      ++submitted_;
      more_.notify_all();
    };
  }
  ~RemoteDispatch() override {
    if (thread_.joinable()) front_dispatcher_->drain(0s);
    io_.stop();
    if (thread_.joinable()) thread_.join();
    workers.join();  // they may be at work for what goes now
    front_dispatcher_.reset();
    background_.reset();
    store_.reset();
    dispatcher.jobs.clear();
  }
  void announce() {
    std::promise<Result<bool>> done;
    store_->announce("demo", write_model(dispatcher.served.front()), "server one",
                     [&](Result<bool> news) { done.set_value(news); });
    EXPECT_TRUE(done.get_future().get());
  }
  void start() {
    announce();
    front_dispatcher_->look_for_models();
    background_->start();
    thread_ = std::jthread([this] { io_.run(); });
  }
  void wait_for_submitted(int jobs) {
    std::unique_lock lock(mutex_);
    more_.wait(lock, [&] { return submitted_ >= jobs; });
  }
  // Rows of any owner named "anna", asked until they are as many.
  void wait_for_rows(std::size_t rows) {
    for (std::size_t there = rows + 1; there != rows; std::this_thread::yield()) {
      std::promise<Result<std::vector<jobstore::Job>>> listed;
      store_->list({.owner = "anna"}, [&](auto jobs) { listed.set_value(std::move(jobs)); });
      there = listed.get_future().get()->size();
    }
  }
  static GenerateRequest wanted(std::size_t n = 1) {
    GenerateRequest request;
    request.model = "dall-e-3";
    request.prompt = "a kitten";
    for (std::size_t i = 0; i < n; ++i) request.seeds.push_back(5 + i);
    return request;
  }
  static SubmitOptions options_of_anna() {
    SubmitOptions options;
    options.user = "anna";
    return options;
  }

  test::FakeClock clock;
  FakeDispatcher dispatcher;
  storage::MemoryStore images{1 << 20, clock};
  Workers workers{2, 1};
  TemporaryFolder folder_;
  storage::MemoryStore inputs_{1 << 20, clock};
  std::unique_ptr<jobstore::JobStore> store_;
  asio::io_context io_;
  const asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  std::unique_ptr<Background> background_;
  std::unique_ptr<RemoteDispatcher> front_dispatcher_;
  std::mutex mutex_;
  std::condition_variable more_;
  int submitted_ = 0;
  std::jthread thread_;
};

TEST_F(RemoteDispatch, HasItsPicturesMadeByWhoeverHasTheModel) {
  start();
  ASSERT_EQ(front_dispatcher_->models().size(), 1u);
  EXPECT_EQ(front_dispatcher_->models()[0].name, "demo");
  SubmitOptions options = options_of_anna();
  options.previews = 1;
  options.step_events = true;
  GenerateRequest request = wanted(2);
  request.init_image = std::make_shared<const Image>(plain_image(64, 64, 7));
  request.strength = 0.5;
  Told told;
  const auto ticket = front_dispatcher_->submit(request, options, told.sink());
  ASSERT_TRUE(ticket) << ticket.error().message;
  const auto pictures = told.all<ImageReady>();
  ASSERT_EQ(pictures.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(pictures[i].image_index, i);
    EXPECT_EQ(pictures[i].seed, 5 + i);
    EXPECT_EQ(pictures[i].image.pixels, plain_image(64, 64, 200).pixels);
  }
  EXPECT_EQ(told.all<StepDone>().size(), 8u);
  EXPECT_EQ(told.all<StepDone>().back().steps, 4);
  const auto previews = told.all<PreviewReady>();
  ASSERT_EQ(previews.size(), 2u);
  EXPECT_EQ(previews[0].image.pixels, plain_image(8, 8, 100).pixels);
  ASSERT_EQ(told.all<JobDone>().size(), 1u);
  EXPECT_EQ(told.all<JobDone>()[0].timings.denoise_seconds, 1.0);
  const FakeDispatcher::Job& made = dispatcher.jobs.at(0);
  EXPECT_EQ(made.options.user, "anna");
  EXPECT_EQ(made.request.model, "demo");
  EXPECT_EQ(made.request.init_image->pixels, plain_image(64, 64, 7).pixels);
  EXPECT_EQ(made.request.strength, 0.5);
  wait_for_rows(0);
  front_dispatcher_->drain(1h);
  EXPECT_EQ(images.bytes() + inputs_.bytes(), 0u);
}

TEST_F(RemoteDispatch, TellsNoStepsToThoseWhoDidNotAskForThem) {
  start();
  Told told;
  const auto ticket = front_dispatcher_->submit(wanted(), options_of_anna(), told.sink());
  EXPECT_EQ(told.until_the_end().size(), 2u);
  EXPECT_EQ(told.all<ImageReady>().size(), 1u);
}

TEST_F(RemoteDispatch, TellsARefusalOfTheOneWhoHasTheModel) {
  dispatcher.refusal = Error{ErrorCode::invalid_argument, "clip_skip must be 0 to 2", "clip_skip", {}};
  start();
  Told told;
  const auto ticket = front_dispatcher_->submit(wanted(), options_of_anna(), told.sink());
  const Error failure = told.failure();
  EXPECT_EQ(failure.code, ErrorCode::invalid_argument);
  EXPECT_EQ(failure.field, "clip_skip");
  EXPECT_EQ(failure.message, "clip_skip must be 0 to 2");
  wait_for_rows(0);
}

TEST_F(RemoteDispatch, RefusesAtOnceWhatItCanTell) {
  announce();
  front_dispatcher_->look_for_models();
  const auto refusal = [&](const std::function<void(GenerateRequest&)>& spoil) {
    GenerateRequest request = wanted();
    spoil(request);
    Told told;
    const auto ticket = front_dispatcher_->submit(request, options_of_anna(), told.sink());
    EXPECT_FALSE(ticket);
    return ticket ? Error{} : ticket.error();
  };
  EXPECT_EQ(refusal([](auto& r) { r.model = "none"; }).reason, "model_not_found");
  EXPECT_EQ(refusal([](auto& r) { r.width = 60; }).field, "width");
  EXPECT_EQ(refusal([](auto& r) { r.scheduler = "none"; }).field, "scheduler");
  const auto resolved = front_dispatcher_->resolve(wanted());
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->model, "demo");
  EXPECT_EQ(resolved->width, 64);
}

TEST_F(RemoteDispatch, KnowsAModelThatNobodyHasAtPresentButWaitsForNone) {
  announce();
  clock.advance(60);
  front_dispatcher_->look_for_models();
  EXPECT_EQ(front_dispatcher_->models().size(), 1u);
  EXPECT_TRUE(front_dispatcher_->resolve(wanted()));  // a background job can wait
  Told told;
  const auto ticket = front_dispatcher_->submit(wanted(), options_of_anna(), told.sink());
  ASSERT_FALSE(ticket);
  EXPECT_EQ(ticket.error().reason, "model_away");
  EXPECT_TRUE(ticket.error().retry_after);
}

TEST_F(RemoteDispatch, RemembersTheNamesOfModelsThatAreGone) {
  announce();
  clock.advance(3600);
  front_dispatcher_->look_for_models();
  EXPECT_TRUE(front_dispatcher_->models().empty());
  EXPECT_TRUE(front_dispatcher_->remembers("demo"));
  EXPECT_TRUE(front_dispatcher_->remembers("dall-e-3"));
  EXPECT_FALSE(front_dispatcher_->remembers("other"));
}

TEST_F(RemoteDispatch, IsAskedByAServerForTheModelsThatItLacks) {
  FakeDispatcher own;
  own.served = {{"alpha", {}, 1, small_model_info()}};
  start();
  JoinedDispatcher joined(own, *front_dispatcher_);
  const auto models = joined.models();
  ASSERT_EQ(models.size(), 2u);
  EXPECT_TRUE(models[0].name == "alpha" && models[0].here);
  EXPECT_TRUE(models[1].name == "demo" && !models[1].here);
  Told told;
  const auto ticket = joined.submit(wanted(), options_of_anna(), told.sink());
  ASSERT_TRUE(ticket);
  EXPECT_EQ(told.all<ImageReady>().size(), 1u);
  EXPECT_EQ(dispatcher.jobs.size(), 1u);
  GenerateRequest request = wanted();
  request.model = "alpha";
  Told other;
  ASSERT_TRUE(joined.submit(request, options_of_anna(), other.sink()));
  ASSERT_EQ(own.jobs.size(), 1u);
  EXPECT_EQ(own.jobs[0].request.model, "alpha");
  request.model = "nobody";
  EXPECT_EQ(joined.resolve(request).error().reason, "model_not_found");
}

TEST_F(RemoteDispatch, StopsTheJobOfWhoeverGoesAway) {
  dispatcher.hold = true;
  start();
  Told told;
  auto ticket = front_dispatcher_->submit(wanted(), options_of_anna(), told.sink());
  ASSERT_TRUE(ticket);
  wait_for_submitted(1);
  ticket->cancel();
  EXPECT_EQ(told.failure().code, ErrorCode::cancelled);
  wait_for_rows(0);
  while (!*dispatcher.jobs.at(0).cancelled) std::this_thread::yield();
}

TEST_F(RemoteDispatch, HasPicturesFinishedEarlyWhereTheyAreMade) {
  dispatcher.hold = true;
  start();
  Told told;
  GenerateRequest request = wanted();
  request.seeds = {5, 6, 7};
  auto ticket = front_dispatcher_->submit(request, options_of_anna(), told.sink());
  ASSERT_TRUE(ticket);
  wait_for_submitted(1);
  ticket->finish_early(3);
  const FakeDispatcher::Job& job = dispatcher.jobs.at(0);
  while (*job.finish_below == 0) std::this_thread::yield();
  EXPECT_EQ(*job.finish_below, 3u);
  // The first had not begun and does not come.
  for (const std::size_t i : {2, 1}) job.sink(ImageReady{i, request.seeds[i], plain_image(64, 64, 200)});
  job.sink(JobDone{});
  const auto pictures = told.all<ImageReady>();
  ASSERT_EQ(pictures.size(), 2u);
  EXPECT_EQ(pictures[0].image_index, 1u);
  EXPECT_EQ(pictures[1].seed, 7u);
}

TEST_F(RemoteDispatch, ObeysTheDeadline) {
  dispatcher.hold = true;
  start();
  SubmitOptions options = options_of_anna();
  options.deadline = clock.now() + 10s;
  Told told;
  const auto ticket = front_dispatcher_->submit(wanted(), options, told.sink());
  wait_for_submitted(1);
  clock.advance(11);
  EXPECT_EQ(told.failure().code, ErrorCode::deadline);
  wait_for_rows(0);
}

TEST_F(RemoteDispatch, DrainsWhatIsUnderWayAndTakesNothingMore) {
  dispatcher.hold = true;
  start();
  Told told;
  const auto ticket = front_dispatcher_->submit(wanted(), options_of_anna(), told.sink());
  wait_for_submitted(1);
  EXPECT_EQ(front_dispatcher_->under_way(), 1u);
  front_dispatcher_->drain(0ms);
  EXPECT_EQ(told.failure().reason, "shutdown");
  EXPECT_EQ(front_dispatcher_->under_way(), 0u);
  const auto late = front_dispatcher_->submit(wanted(), options_of_anna(), told.sink());
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().reason, "draining");
  wait_for_rows(0);
}

}  // namespace
}  // namespace diffused::background
