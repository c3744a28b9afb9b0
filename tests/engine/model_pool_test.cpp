#include "engine/model_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "engine/collector.h"
#include "engine/local_dispatcher.h"
#include "support/fake_clock.h"
#include "support/fake_pipeline.h"

namespace diffused::engine {
namespace {

using std::chrono::seconds;
using test::FakeClock;
using test::FakePipeline;

using Networks = std::vector<NetworkWeights>;

// Networks of these sizes, one for each model.
std::vector<Networks> of_sizes(const std::vector<std::uint64_t>& sizes) {
  std::vector<Networks> models;
  for (const std::uint64_t size : sizes) models.push_back({{models.size(), size}});
  return models;
}

// Models of given networks, none loaded, under a clock that stands still.
class Pool {
 public:
  Pool(PoolOptions options, std::vector<Networks> networks, std::vector<bool> pinned = {}) {
    std::vector<LocalModel> models;
    for (std::size_t i = 0; i < networks.size(); ++i) {
      LocalModel model{.name = std::string(1, static_cast<char>('a' + i))};
      model.info.networks = networks[i];
      model.pinned = i < pinned.size() && pinned[i];
      model.load = [this, i, has = networks[i]]() -> Result<std::shared_ptr<Pipeline>> {
        loads += model_name(i);
        if (broken) return fail(ErrorCode::data_loss, "/secret/folder: damaged");
        clock.advance(load_seconds);
        return std::make_shared<FakePipeline>(test::FakeOptions{.networks = has});
      };
      models.push_back(std::move(model));
    }
    pool.emplace(std::move(models), options, clock);
  }

  static std::string model_name(std::size_t i) { return std::string(1, static_cast<char>('a' + i)); }
  void turn() {
    while (pool->turn()) {
    }
  }
  // Asks, lets the pool work, asks again.
  std::shared_ptr<Pipeline> get(std::size_t i) {
    if (auto lease = pool->lease(i)) return *lease;
    turn();
    auto lease = pool->lease(i);
    return lease ? *lease : nullptr;
  }
  std::string loaded() const {
    std::string names;
    for (std::size_t i = 0; i < pool->size(); ++i)
      if (pool->stats(i).weight_bytes > 0) names += model_name(i);
    return names;
  }
  void pass(double time) { clock.advance(time); }

  FakeClock clock;
  std::string loads;  // the models loaded, in order
  bool broken = false;
  double load_seconds = 3;
  std::optional<ModelPool> pool;
};

TEST(ModelPool, LoadsWhatIsAskedForAndSaysWhenToComeBack) {
  Pool models({.memory_budget_bytes = 100}, of_sizes({40}));
  auto lease = models.pool->lease(0);
  ASSERT_FALSE(lease);
  EXPECT_EQ(lease.error().code, ErrorCode::unavailable);
  EXPECT_EQ(lease.error().reason, "model_loading");
  EXPECT_TRUE(lease.error().retry_after);
  models.turn();
  EXPECT_TRUE(models.pool->lease(0));
  EXPECT_EQ(models.loads, "a");
}

TEST(ModelPool, WhatWasUsedLongestAgoGoesFirst) {
  Pool models({.memory_budget_bytes = 100}, of_sizes({40, 40, 40}));
  for (const std::size_t i : {0, 1, 0}) {
    EXPECT_TRUE(models.get(i));
    models.pass(1);
  }
  EXPECT_EQ(models.loaded(), "ab");
  EXPECT_TRUE(models.get(2));
  EXPECT_EQ(models.loaded(), "ac");
}

TEST(ModelPool, MakesAsMuchRoomAsIsNeeded) {
  Pool models({.memory_budget_bytes = 100}, of_sizes({40, 40, 90}));
  EXPECT_TRUE(models.get(0));
  EXPECT_TRUE(models.get(1));
  EXPECT_TRUE(models.get(2));
  EXPECT_EQ(models.loaded(), "c");
}

TEST(ModelPool, WhatModelsShareCountsOnce) {
  Pool models({.memory_budget_bytes = 100},
              std::vector<Networks>{{{1, 50}, {2, 20}}, {{1, 50}, {3, 30}}, {{4, 60}}});
  EXPECT_TRUE(models.get(0));
  EXPECT_EQ(models.pool->weight_bytes(), 70u);
  EXPECT_TRUE(models.get(1));
  EXPECT_EQ(models.loaded(), "ab");
  EXPECT_EQ(models.pool->weight_bytes(), 100u);
  EXPECT_EQ(models.pool->stats(0).weight_bytes, 70u);
  EXPECT_EQ(models.pool->stats(1).weight_bytes, 80u);
  // To let go of one of them gives back no more than it has alone.
  EXPECT_TRUE(models.get(2));
  EXPECT_EQ(models.loaded(), "c");
  EXPECT_EQ(models.pool->weight_bytes(), 60u);
}

TEST(ModelPool, WhatIsInUseHoldsWhatItShares) {
  Pool models({.memory_budget_bytes = 100, .stay_min = seconds(10)},
              std::vector<Networks>{{{1, 50}, {2, 20}}, {{1, 50}, {3, 30}}, {{4, 40}}});
  const auto running = models.get(0);
  EXPECT_TRUE(models.get(1));
  EXPECT_FALSE(models.get(2));  // 50 and 20 are in use
  EXPECT_EQ(models.loaded(), "a");
  EXPECT_TRUE(models.get(1));
  EXPECT_EQ(models.loaded(), "ab");
}

TEST(ModelPool, PinnedModelsStay) {
  Pool models({.memory_budget_bytes = 100}, of_sizes({60, 30, 40}), {true});
  EXPECT_TRUE(models.get(0));
  EXPECT_TRUE(models.get(1));
  EXPECT_TRUE(models.get(2));
  EXPECT_EQ(models.loaded(), "ac");
}

TEST(ModelPool, WhatIsInUseIsNeverCut) {
  Pool models({.memory_budget_bytes = 100}, of_sizes({60, 60}));
  auto first = models.get(0);
  models.pass(60);
  EXPECT_FALSE(models.get(1));
  EXPECT_EQ(models.loaded(), "a");
  EXPECT_TRUE(first->resolve({.model = "a", .seeds = {1}}));
  // It takes no new jobs: else the other would wait for ever.
  EXPECT_FALSE(models.pool->lease(0));
  first.reset();
  models.turn();
  EXPECT_TRUE(models.get(1));
  EXPECT_EQ(models.loaded(), "b");
}

TEST(ModelPool, WhatHasJustComeIsNotAskedToLeave) {
  Pool models({.memory_budget_bytes = 100, .stay_min = seconds(10)}, of_sizes({60, 60}));
  const auto first = models.get(0);
  EXPECT_FALSE(models.get(1));
  EXPECT_TRUE(models.pool->lease(0));
  models.pass(11);
  models.turn();
  EXPECT_FALSE(models.pool->lease(0));
}

TEST(ModelPool, WhatWasAskedForStaysUntilItIsFetched) {
  Pool models({.memory_budget_bytes = 100, .stay_min = seconds(10)}, of_sizes({60, 60}));
  EXPECT_FALSE(models.pool->lease(0));
  models.turn();
  EXPECT_FALSE(models.pool->lease(1));
  models.pass(12);
  models.turn();
  EXPECT_EQ(models.loaded(), "a");
  EXPECT_TRUE(models.pool->lease(0));
  models.turn();
  EXPECT_EQ(models.loaded(), "b");
  // Not for ever: whoever asked for it may have gone.
  EXPECT_FALSE(models.pool->lease(0));
  models.pass(14);
  models.turn();
  EXPECT_EQ(models.loaded(), "a");
}

TEST(ModelPool, TwoThatCannotBothStayTakeTurns) {
  Pool models({.memory_budget_bytes = 100, .stay_min = seconds(10)}, of_sizes({60, 60}));
  for (int round = 0; round < 5; ++round) {
    for (const std::size_t i : {0, 1}) {
      auto lease = models.get(i);
      ASSERT_TRUE(lease);
      models.pass(11);
    }
  }
  EXPECT_EQ(models.loads, "ababababab");
}

TEST(ModelPool, UnusedModelsGoAfterTheirTime) {
  Pool models({.keep_alive = seconds(60)}, of_sizes({60, 60}), {false, true});
  auto first = models.get(0);
  EXPECT_TRUE(models.get(1));
  models.pass(100);
  models.turn();
  EXPECT_EQ(models.loaded(), "ab");
  first.reset();  // it was in use until now
  models.pass(59);
  models.turn();
  EXPECT_EQ(models.loaded(), "ab");
  models.pass(2);
  models.turn();
  EXPECT_EQ(models.loaded(), "b");
}

TEST(ModelPool, AModelThatCannotBeLoadedSaysSoWithoutItsPath) {
  Pool models({.memory_budget_bytes = 100}, of_sizes({60}));
  models.broken = true;
  EXPECT_FALSE(models.pool->lease(0));
  models.turn();
  const auto failed = models.pool->lease(0);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().reason, "model_load_failed");
  EXPECT_EQ(failed.error().message.find("secret"), std::string::npos);
  models.broken = false;
  EXPECT_TRUE(models.get(0));
}

TEST(ModelPool, CountsGoOnWhereTheyWere) {
  Pool models({.memory_budget_bytes = 50}, of_sizes({40}));
  EXPECT_EQ(models.pool->stats(0).weight_bytes, 0u);
  EXPECT_TRUE(models.get(0));
  EXPECT_EQ(models.pool->stats(0).weight_bytes, 40u);
}

TEST(ModelPool, AnOperatorLoadsAndUnloads) {
  Pool rig({.memory_budget_bytes = 100}, of_sizes({40, 40}));
  EXPECT_EQ(rig.pool->status(0).state, ModelState::unloaded);
  ASSERT_TRUE(rig.pool->change(0, ModelWish::load));
  EXPECT_EQ(rig.pool->status(0).state, ModelState::loading);
  rig.turn();
  EXPECT_EQ(rig.pool->status(0).state, ModelState::loaded);
  EXPECT_EQ(rig.pool->status(0).weight_bytes, 40u);
  ASSERT_TRUE(rig.pool->change(0, ModelWish::unload));
  rig.turn();
  EXPECT_EQ(rig.pool->status(0).state, ModelState::unloaded);
}

TEST(ModelPool, AModelInUseIsUnloadedWhenNobodyHasItAnyMore) {
  Pool rig({.memory_budget_bytes = 100}, of_sizes({40}));
  auto held = rig.get(0);
  ASSERT_TRUE(rig.pool->change(0, ModelWish::unload));
  rig.turn();
  EXPECT_EQ(rig.pool->status(0).state, ModelState::leaving);
  held.reset();
  rig.turn();
  EXPECT_EQ(rig.pool->status(0).state, ModelState::unloaded);
}

TEST(ModelPool, AModelThatIsAskedForStaysThough) {
  Pool rig({.memory_budget_bytes = 100}, of_sizes({40}));
  rig.get(0).reset();
  ASSERT_TRUE(rig.pool->change(0, ModelWish::unload));
  rig.pool->lease(0).value().reset();
  rig.turn();
  EXPECT_EQ(rig.pool->status(0).state, ModelState::loaded);
}

TEST(ModelPool, APinnedModelIsUnpinnedBeforeItIsUnloaded) {
  Pool rig({.memory_budget_bytes = 50}, of_sizes({40, 40}));
  rig.get(0).reset();
  ASSERT_TRUE(rig.pool->change(0, ModelWish::pin));
  EXPECT_EQ(rig.pool->change(0, ModelWish::unload).error().code, ErrorCode::invalid_argument);
  EXPECT_FALSE(rig.pool->lease(1));
  rig.turn();
  EXPECT_EQ(rig.pool->status(0).state, ModelState::loaded);
  ASSERT_TRUE(rig.pool->change(0, ModelWish::unpin));
  rig.turn();
  EXPECT_EQ(rig.pool->status(0).state, ModelState::unloaded);
}

// The dispatcher, its device thread and the pool's together, and clients that come back as they are told.
TEST(ModelPool, ManyClientsOfTooManyModelsAllGetTheirPictures) {
  SystemClock clock;
  EngineObserver nobody;
  EngineOptions options;
  options.pool = {.memory_budget_bytes = 100, .stay_min = seconds(0)};
  std::atomic<int> loaded = 0, loaded_most = 0;
  std::vector<LocalModel> models;
  for (const char* const name : {"a", "b", "c"}) {
    LocalModel model{.name = name};
    const Networks networks = {{static_cast<std::uint64_t>(name[0]), 60}};
    model.info = FakePipeline({.networks = networks}).info();
    model.load = [&, networks]() -> Result<std::shared_ptr<Pipeline>> {
      loaded_most = std::max(loaded_most.load(), ++loaded);
      return std::shared_ptr<Pipeline>(new FakePipeline({.networks = networks}), [&](Pipeline* pipeline) {
        delete pipeline;
        --loaded;
      });
    };
    models.push_back(std::move(model));
  }
  std::atomic<int> done = 0;
  {
    LocalDispatcher dispatcher(std::move(models), options, clock, nobody);
    std::vector<std::thread> clients;
    for (int client = 0; client < 6; ++client) {
      clients.emplace_back([&, client] {
        for (int i = 0; i < 10; ++i) {
          GenerateRequest request;
          request.model = std::string(1, static_cast<char>('a' + (client + i) % 3));
          request.prompt = "a kitten";
          request.seeds = {1};
          for (;;) {
            std::promise<bool> end;
            const auto sink = [&end](Event event) {
              if (std::holds_alternative<JobDone>(event)) end.set_value(true);
              if (std::holds_alternative<JobFailed>(event)) end.set_value(false);
            };
            const auto ticket = dispatcher.submit(request, {}, sink);
            if (ticket) {
              done += end.get_future().get() ? 1 : 0;
              break;
            }
            ASSERT_EQ(ticket.error().reason, "model_loading");
            std::this_thread::yield();
          }
        }
      });
    }
    for (std::thread& client : clients) client.join();
  }
  EXPECT_EQ(done, 60);
  EXPECT_EQ(loaded_most, 1);
  EXPECT_EQ(loaded, 0);
}

}  // namespace
}  // namespace diffused::engine
