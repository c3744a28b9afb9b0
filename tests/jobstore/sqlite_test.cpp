// What only the store of one machine promises: its file, its lock, its recovery, and how it reads the table.
#include <sqlite3.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <latch>

#include "jobstore/sqlite_database.h"
#include "stores.h"

namespace diffused::jobstore {
namespace {

// A second connection, while no store has the file open.
class Peek {
 public:
  explicit Peek(const std::filesystem::path& file) {
    EXPECT_EQ(sqlite3_open(file.c_str(), &connection_), SQLITE_OK);
    const auto zero = [](sqlite3_context* context, int, sqlite3_value**) {
      sqlite3_result_int64(context, 0);
    };
    for (const char* name : {"now_seconds", "lifetime_seconds", "now_milliseconds", "tick_milliseconds"})
      sqlite3_create_function(connection_, name, 0, SQLITE_UTF8, nullptr, zero, nullptr, nullptr);
  }
  ~Peek() { sqlite3_close(connection_); }
  // The last column of each row.
  std::vector<std::string> ask(const std::string& sql) {
    std::vector<std::string> rows;
    const auto row = [](void* to, int columns, char** values, char**) {
      static_cast<std::vector<std::string>*>(to)->emplace_back(
          values[columns - 1] == nullptr ? "" : values[columns - 1]);
      return 0;
    };
    char* message = nullptr;
    EXPECT_EQ(sqlite3_exec(connection_, sql.c_str(), row, &rows, &message), SQLITE_OK) << message << sql;
    sqlite3_free(message);
    return rows;
  }

 private:
  sqlite3* connection_ = nullptr;
};

Error error_of(const SqliteHome& home) {
  auto store = open_sqlite_job_store(home.file(), {}, home.clock());
  EXPECT_FALSE(store);
  return store ? Error{} : store.error();
}

TEST(SqliteJobStore, IsOpenedByOneServerOnly) {
  SqliteHome home;
  const auto store = home.open();
  EXPECT_EQ(error_of(home).code, ErrorCode::unavailable);
}

TEST(SqliteJobStore, RefusesAFileThatIsNotItsOwn) {
  SqliteHome home;
  write_file(home.file(), std::string(4096, 'x'));
  EXPECT_EQ(error_of(home).code, ErrorCode::data_loss);
  std::filesystem::remove(home.file());
  Peek(home.file()).ask("CREATE TABLE other (x)");
  EXPECT_EQ(error_of(home).code, ErrorCode::data_loss);
}

TEST(SqliteJobStore, RefusesADamagedPage) {
  SqliteHome home;
  {
    const auto store = home.open();
    for (int i = 0; i < 50; ++i)
      ASSERT_TRUE(
          wait<Enqueued>([&](auto reply) { store->enqueue(new_job("job_" + std::to_string(i)), reply); }));
  }
  std::string bytes = read_file(home.file());
  ASSERT_GT(bytes.size(), 8 * 4096u);
  for (std::size_t page = 1; page < bytes.size() / 4096; ++page) bytes.replace(page * 4096, 64, 64, '\x55');
  write_file(home.file(), bytes);
  EXPECT_EQ(error_of(home).code, ErrorCode::data_loss);
}

TEST(SqliteJobStore, RefusesTheSchemaOfANewerVersion) {
  SqliteHome home;
  home.open().reset();
  Peek(home.file()).ask("PRAGMA user_version = 99");
  EXPECT_EQ(error_of(home).code, ErrorCode::unsupported);
}

TEST(SqliteJobStore, GivesBackAtStartWhatRanWhenTheServerDied) {
  SqliteHome home;
  auto store = home.open();
  ASSERT_TRUE(wait<Enqueued>([&](auto reply) { store->enqueue(new_job("job_1"), reply); }));
  for (int attempt = 1; attempt <= 3; ++attempt) {
    const auto jobs = wait<std::vector<Job>>([&](auto reply) { store->claim({{"demo"}, 1, ""}, reply); });
    ASSERT_EQ(jobs->size(), 1u);
    EXPECT_EQ(jobs->front().attempt, attempt);
    store.reset();
    store = home.open();
    // The worker of the server before is fenced off.
    EXPECT_FALSE(*wait<bool>([&](auto reply) { store->succeed({"job_1", jobs->front().lease}, "", reply); }));
  }
  EXPECT_EQ(wait<Job>([&](auto reply) { store->find("job_1", {}, reply); })->state, JobState::failed);
}

TEST(SqliteJobStore, AsksForPatienceWhenTooManyCallsWait) {
  SqliteHome home;
  StoreOptions options;
  options.calls_waiting_max = 2;
  const auto store = home.open(options);
  std::latch held(1), release(1);
  store->count([&](Result<Counts>) {
    held.count_down();
    release.wait();
  });
  held.wait();  // the store's thread stands in the reply
  std::vector<std::future<Result<Counts>>> replies;
  for (int i = 0; i < 3; ++i) {
    auto promise = std::make_shared<std::promise<Result<Counts>>>();
    replies.push_back(promise->get_future());
    store->count([promise](Result<Counts> counts) { promise->set_value(std::move(counts)); });
  }
  const auto refused = replies[2].get();
  release.count_down();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::overloaded);
  EXPECT_TRUE(replies[0].get());
  EXPECT_TRUE(replies[1].get());
}

// The size of files is limited for the time of this test, which is what a full disk looks like.
TEST(SqliteJobStore, SaysThatTheDiskIsFullAndGoesOnWhenThereIsRoomAgain) {
  SqliteHome home;
  const auto store = home.open();
  const auto enqueue = [&](const std::string& id, std::size_t bytes) {
    NewJob job = new_job(id);
    job.spec = std::string(bytes, 'x');
    return wait<Enqueued>([&](auto reply) { store->enqueue(job, reply); });
  };
  ASSERT_TRUE(enqueue("job_1", 100));
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limited{1 << 19, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limited);
  const auto refused = enqueue("job_2", 1 << 20);
  // Finding nothing to give back writes nothing, and says nothing of the disk.
  EXPECT_EQ(wait<std::vector<Job>>([&](auto reply) { store->reap(reply); })->size(), 0u);
  const bool healthy_when_full = store->healthy();
  const auto found = wait<Job>([&](auto reply) { store->find("job_1", {}, reply); });
  setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(refused.error().retry_after);
  EXPECT_FALSE(healthy_when_full);
  EXPECT_TRUE(found);
  EXPECT_TRUE(enqueue("job_3", 1 << 20));
  EXPECT_TRUE(store->healthy());
  EXPECT_FALSE(wait<Job>([&](auto reply) { store->find("job_2", {}, reply); }));
}

// A job that was accepted into a file that is gone would be lost without a word.
class LostFile : public testing::TestWithParam<std::pair<const char*, bool>> {};

TEST_P(LostFile, IsSaidAndNothingMoreIsPromised) {
  const auto [ending, removed] = GetParam();
  SqliteHome home;
  const auto store = home.open();
  ASSERT_TRUE(wait<Enqueued>([&](auto reply) { store->enqueue(new_job("job_1"), reply); }));
  std::promise<void> broken;
  store->when_broken([&] { broken.set_value(); });
  const std::string file = home.file().string() + ending;
  if (removed)
    std::filesystem::remove(file);
  else
    std::filesystem::resize_file(file, 0);
  const auto refused = wait<Enqueued>([&](auto reply) { store->enqueue(new_job("job_2"), reply); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "storage_failed");
  broken.get_future().get();
  EXPECT_TRUE(store->broken());
  EXPECT_FALSE(store->healthy());
  EXPECT_FALSE(wait<Job>([&](auto reply) { store->find("job_1", {}, reply); }));
}

INSTANTIATE_TEST_SUITE_P(Each, LostFile,
                         testing::Values(std::pair("", true), std::pair("", false), std::pair("-wal", true),
                                         std::pair("-wal", false)));

TEST(SqliteJobStore, LeavesOutARowThatCannotBeRead) {
  SqliteHome home;
  {
    const auto store = home.open();
    for (const char* id : {"job_1", "job_2", "job_3"})
      ASSERT_TRUE(wait<Enqueued>([&](auto reply) { store->enqueue(new_job(id), reply); }));
  }
  Peek(home.file()).ask("UPDATE job SET attempt = 99999999999 WHERE id = 'job_2'");
  const auto store = home.open();
  const auto listed =
      wait<std::vector<Job>>([&](auto reply) { store->list({.owner = "ann", .after = {}}, reply); });
  ASSERT_TRUE(listed);
  EXPECT_EQ(listed->size(), 2u);
  EXPECT_EQ(wait<Job>([&](auto reply) { store->find("job_2", {}, reply); }).error().code,
            ErrorCode::data_loss);
  const auto claimed = wait<std::vector<Job>>([&](auto reply) { store->claim({{"demo"}, 3, ""}, reply); });
  ASSERT_TRUE(claimed);
  EXPECT_EQ(claimed->size(), 2u);
}

TEST(SqliteJobStore, KeepsWithinItsBytesAndLetsGoOfWhoKeepsMost) {
  SqliteHome home;
  StoreOptions options;
  options.bytes_max = 1 << 20;
  const auto store = home.open(options);
  const auto enqueue = [&](const std::string& id, const char* owner) {
    NewJob job = new_job(id, owner);
    job.spec = std::string(20'000, 'x');
    return wait<Enqueued>([&](auto reply) { store->enqueue(job, reply); });
  };
  const auto cancel = [&](const std::string& id) {
    return wait<Job>([&](auto reply) { store->cancel(id, {}, reply); });
  };
  ASSERT_TRUE(enqueue("job_ann", "ann"));
  ASSERT_TRUE(cancel("job_ann"));
  for (int i = 0; i < 500; ++i) {
    const std::string id = "job_" + std::to_string(i);
    ASSERT_TRUE(enqueue(id, "mallory")) << i;
    ASSERT_TRUE(cancel(id));
  }
  EXPECT_TRUE(wait<Job>([&](auto reply) { store->find("job_ann", {}, reply); }));
  EXPECT_FALSE(wait<Job>([&](auto reply) { store->find("job_0", {}, reply); }));
  EXPECT_LT(std::filesystem::file_size(home.file()), 2u << 20);
  // What waits is let go of by nobody: then there is no room.
  Result<Enqueued> last;
  for (int i = 0; i < 100 && last; ++i) last = enqueue("waiting_" + std::to_string(i), "mallory");
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().reason, "storage_full");
}

TEST(SqliteJobStore, KeepsWhatHasEndedHoweverTheClockJumps) {
  class JumpingClock final : public Clock {
   public:
    SteadyTime now() const override { return {}; }
    std::int64_t unix_seconds() const override { return 1'700'000'000 + jump; }
    std::int64_t lifetime_seconds() const override { return 1'700'000'000; }
    std::atomic<std::int64_t> jump = 0;
  } clock;
  TemporaryFolder folder;
  const auto store = open_sqlite_job_store(folder.path() / "jobs.db", {}, clock).value();
  ASSERT_TRUE(wait<Enqueued>([&](auto reply) { store->enqueue(new_job("job_1"), reply); }));
  ASSERT_TRUE(wait<Job>([&](auto reply) { store->cancel("job_1", {}, reply); }));
  for (const std::int64_t days : {1, -1, 3650}) {
    clock.jump = days * 24 * 3600;
    EXPECT_EQ(*wait<std::int64_t>([&](auto reply) { store->expire(reply); }), 0);
  }
  EXPECT_TRUE(wait<Job>([&](auto reply) { store->find("job_1", {}, reply); }));
}

// Each statement reads a hundred thousand waiting jobs through an index, and sorts none of them.
TEST(SqliteJobStore, NeverReadsTheWholeBacklog) {
  SqliteHome home;
  home.open().reset();
  Peek peek(home.file());
  peek.ask(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
      "INSERT INTO job (id, owner, pool, batch_key, priority, share, cost, attempts_max, request_hash, spec, "
      "created) SELECT 'job_' || i, 'owner' || (i % 50), 'pool' || (i % 3), 'key' || (i % 7), 0, i, 1, 3, "
      "'', "
      "'{}', 0 FROM n; ANALYZE");
  for (const Statement& statement : statements_for(Dialect::sqlite)) {
    for (const std::string& step : peek.ask("EXPLAIN QUERY PLAN " + statement.sql)) {
      const bool scan = step.rfind("SCAN job", 0) == 0 && step.find("USING") == std::string::npos;
      EXPECT_FALSE(scan) << step << "\n" << statement.sql;
      EXPECT_EQ(step.find("TEMP B-TREE"), std::string::npos) << step << "\n" << statement.sql;
    }
  }
}

}  // namespace
}  // namespace diffused::jobstore
