// What only the store of many machines promises: servers that share it, a database that goes away and comes
// back, and how it reads the table.
#include <gmock/gmock.h>

#include <mutex>
#include <regex>
#include <set>
#include <thread>

#include "jobstore/postgres_schema.h"
#include "stores.h"

namespace diffused::jobstore {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using namespace std::chrono_literals;

Result<Enqueued> enqueue(JobStore& store, NewJob job) {
  return wait<Enqueued>([&](auto reply) { store.enqueue(job, reply); });
}
Result<Job> find(JobStore& store, const std::string& id) {
  return wait<Job>([&](auto reply) { store.find(id, {}, reply); });
}
Result<std::vector<Job>> claim(JobStore& store, int jobs_max = 1) {
  return wait<std::vector<Job>>([&](auto reply) { store.claim({{"demo"}, jobs_max, ""}, reply); });
}
Error opening_error(const std::string& url) {
  const auto store = open_postgres_job_store(url, {});
  EXPECT_FALSE(store);
  return store ? Error{} : store.error();
}
// Asks until the store is there again; the test's own time limit is the end of patience.
template <typename Ask>
auto until_it_answers(Ask ask) {
  auto answer = ask();
  while (!answer) {
    EXPECT_EQ(answer.error().code, ErrorCode::unavailable);
    EXPECT_TRUE(answer.error().retry_after);
    std::this_thread::sleep_for(5ms);
    answer = ask();
  }
  return answer;
}
// The processes of the cluster that serve job stores.
std::vector<pid_t> backends(const test::PostgresCluster& cluster) {
  std::vector<pid_t> pids;
  for (const auto& pid : test::postgres_ask(
           cluster.url(), "SELECT pid FROM pg_stat_activity WHERE application_name = 'diffused'"))
    pids.push_back(std::stoi(pid));
  return pids;
}

TEST(PostgresJobStore, SaysWhatIsWrongWithItsAddress) {
  EXPECT_EQ(opening_error("postgresql://[").code, ErrorCode::invalid_argument);
  test::PostgresCluster& cluster = test::PostgresCluster::shared();
  EXPECT_THAT(opening_error(cluster.url("&dbname=nothing")).message, HasSubstr("nothing"));
  EXPECT_EQ(opening_error("postgresql:///postgres?host=/nowhere").code, ErrorCode::unavailable);
}

TEST(PostgresJobStore, SaysThatThePasswordIsWrong) {
  test::PostgresCluster& cluster = test::PostgresCluster::shared();
  test::postgres_ask(cluster.url(),
                     "DO $$ BEGIN CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'right'; "
                     "EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  const std::string url = cluster.fresh_schema() + "&user=guarded";
  EXPECT_THAT(opening_error(url + "&password=wrong").message, HasSubstr("password authentication failed"));
  EXPECT_TRUE(open_postgres_job_store(url + "&password=right", {}));
}

TEST(PostgresJobStore, FindsTheHostThatTakesChanges) {
  test::PostgresCluster standby("default_transaction_read_only = on"), primary;
  const auto host_of = [](const test::PostgresCluster& cluster) {
    const std::string url = cluster.url();
    const std::size_t begin = url.find("host=") + 5;
    return url.substr(begin, url.find('&', begin) - begin);
  };
  const std::string both =
      "postgresql:///postgres?user=postgres&host=" + host_of(standby) + "," + host_of(primary);
  const auto store = open_postgres_job_store(both, {});
  ASSERT_TRUE(store) << store.error().message;
  ASSERT_TRUE(enqueue(**store, new_job("job_1")));
  EXPECT_THAT(test::postgres_ask(primary.url(), "SELECT id FROM job"), ElementsAre("job_1"));
  EXPECT_THAT(opening_error(standby.url()).message, HasSubstr("read-only"));
}

// A row that the standby has not confirmed may be gone after a failover, whoever sees it now.
TEST(PostgresJobStore, SaysThatAJobWasAcceptedOnlyWithTheStandbysWord) {
  test::PostgresCluster cluster("synchronous_standby_names = 'gone'");
  const auto unconfirmed = open_postgres_job_store(cluster.url("&options=-csynchronous_commit%3Dlocal"), {});
  ASSERT_TRUE(unconfirmed) << unconfirmed.error().message;
  NewJob job = new_job("job_1");
  job.idempotency_key = "key";
  ASSERT_TRUE(enqueue(**unconfirmed, job));
  PostgresOptions impatient;
  impatient.answer_timeout = 1s;
  const auto store = open_postgres_job_store(cluster.url(), {}, impatient);
  ASSERT_TRUE(store) << store.error().message;
  ASSERT_TRUE(find(**store, "job_1"));
  const auto replayed = enqueue(**store, job);
  ASSERT_FALSE(replayed);
  EXPECT_EQ(replayed.error().code, ErrorCode::unavailable);
}

TEST(PostgresJobStore, RefusesADatabaseThatCannotHoldAllPrompts) {
  test::PostgresCluster& cluster = test::PostgresCluster::shared();
  test::postgres_ask(cluster.url(), "DROP DATABASE IF EXISTS latin");
  test::postgres_ask(cluster.url(), "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
  EXPECT_EQ(opening_error(cluster.url("&dbname=latin")).code, ErrorCode::unsupported);
}

TEST(PostgresJobStore, IsSetUpByOneOfManyServersThatStartAtOnce) {
  PostgresHome home;
  std::vector<std::jthread> servers;
  for (int i = 0; i < 6; ++i)
    servers.emplace_back([&] { EXPECT_TRUE(open_postgres_job_store(home.url(), {})); });
  servers.clear();
  EXPECT_THAT(test::postgres_ask(home.url(), "SELECT version FROM diffused_schema ORDER BY version"),
              ElementsAre("1", "2", "3", "4", "5", "6", "7"));
}

TEST(PostgresJobStore, NeedsNoRightsButThoseOfRowsOnceTheTablesAreThere) {
  PostgresHome home;
  home.open().reset();
  test::postgres_ask(
      home.url(),
      "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'modest') THEN CREATE ROLE modest "
      "LOGIN; END IF; EXECUTE format('GRANT USAGE ON SCHEMA %I TO modest', current_schema()); EXECUTE "
      "format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO modest', "
      "current_schema()); END $$");
  const auto store = open_postgres_job_store(home.url() + "&user=modest", {});
  ASSERT_TRUE(store) << store.error().message;
  const auto added = wait<Enqueued>([&](auto reply) { (*store)->enqueue(new_job("job_1"), reply); });
  EXPECT_TRUE(added) << added.error().message;
  EXPECT_TRUE(wait<bool>([&](auto reply) { (*store)->announce("demo", "{}", "one", reply); }));
  EXPECT_EQ(wait<std::vector<Job>>([&](auto reply) {
              (*store)->claim({{"demo"}, 1, "one"}, reply);
            })->size(),
            1u);
  EXPECT_TRUE(wait<Upkeep>([&](auto reply) { (*store)->upkeep(reply); }));
}

TEST(PostgresJobStore, SaysWhichVersionsDoNotMatch) {
  PostgresHome home;
  home.open().reset();
  test::postgres_ask(home.url(), "INSERT INTO diffused_schema VALUES (99)");
  const auto store = open_postgres_job_store(home.url(), {});
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::unsupported);
  EXPECT_NE(store.error().message.find("99"), std::string::npos) << store.error().message;
}

TEST(PostgresJobStore, SaysWhoItIs) {
  PostgresHome home;
  const auto store =
      open_postgres_job_store(home.url(), {}, {.application_name = "diffused machine:7:a1b2c3"});
  ASSERT_TRUE(store);
  EXPECT_THAT(test::postgres_ask(home.url(),
                                 "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                                 "'diffused machine:7:a1b2c3'"),
              ElementsAre("1"));
}

TEST(PostgresJobStore, BringsAnOlderSchemaUpToDateAndRefusesANewerOne) {
  PostgresHome home;
  const std::string first = migrations_for(Dialect::postgresql).front();
  test::postgres_ask(home.url(), first +
                                     "CREATE TABLE diffused_schema (version bigint NOT NULL);"
                                     "INSERT INTO diffused_schema VALUES (1)");
  test::postgres_ask(
      home.url(),
      "INSERT INTO job (id, owner, pool, batch_key, priority, share, cost, attempts_max, "
      "request_hash, spec, created) VALUES ('job_1', '', 'demo', '', 0, 0, 1, 3, '', '{}', 0)");
  const auto store = home.open();
  EXPECT_EQ(find(*store, "job_1")->progress, 0);
  test::postgres_ask(home.url(), "INSERT INTO diffused_schema VALUES (99)");
  EXPECT_EQ(opening_error(home.url()).code, ErrorCode::unsupported);
}

TEST(PostgresJobStore, SaysWhatItDidToTheTables) {
  const std::string url = test::PostgresCluster::shared().fresh_schema();
  const auto made = migrate_postgres(url);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->from, 0u);
  EXPECT_GT(made->to, 0u);
  EXPECT_EQ(migrate_postgres(url)->from, made->to);
  EXPECT_TRUE(open_postgres_job_store(url, {}));
  test::postgres_ask(url, "INSERT INTO diffused_schema VALUES (1000)");
  EXPECT_EQ(migrate_postgres(url).error().code, ErrorCode::unsupported);
  EXPECT_EQ(migrate_postgres("nonsense").error().code, ErrorCode::invalid_argument);
}

TEST(PostgresJobStore, WantsASynchronousStandbyWhereOneIsRequired) {
  const auto refusal = [](const std::string& url) {
    const auto store = open_postgres_job_store(url, {}, {.require_sync = true});
    return store ? "none" : store.error().message;
  };
  EXPECT_THAT(refusal(test::PostgresCluster::shared().fresh_schema()),
              HasSubstr("synchronous_standby_names"));
  const test::PostgresCluster cluster("synchronous_standby_names = '*'");
  // There is no standby to wait for; a commit that waits for none makes the tables.
  const std::string impatient = cluster.url("&options=-csynchronous_commit%3Dlocal");
  ASSERT_TRUE(migrate_postgres(impatient));
  EXPECT_THAT(refusal(impatient), HasSubstr("synchronous_commit is local"));
  EXPECT_THAT(refusal(cluster.url("&options=-csynchronous_commit%3Doff")),
              HasSubstr("synchronous_commit is off"));
  EXPECT_EQ(refusal(cluster.url()), "none");
}

TEST(PostgresJobStore, GivesEachJobToOneOfManyServers) {
  constexpr int kJobs = 200;
  PostgresHome home;
  std::vector<std::unique_ptr<JobStore>> stores;
  for (int i = 0; i < 4; ++i) stores.push_back(home.open());
  for (int i = 0; i < kJobs; ++i) ASSERT_TRUE(enqueue(*stores[i % 4], new_job("job_" + std::to_string(i))));
  std::mutex mutex;
  std::multiset<std::string> claimed;
  std::vector<std::jthread> workers;
  for (const auto& store : stores) {
    workers.emplace_back([&, server = store.get()] {
      for (auto jobs = claim(*server, 3); !jobs->empty(); jobs = claim(*server, 3)) {
        const std::lock_guard lock(mutex);
        for (const Job& job : *jobs) claimed.insert(job.id);
      }
    });
  }
  workers.clear();
  // Whoever comes last may find the last ones taken by a server whose claim is not done yet.
  EXPECT_EQ(claimed.size(), kJobs);
  EXPECT_EQ((std::set<std::string>{claimed.begin(), claimed.end()}).size(), kJobs);
}

TEST(PostgresJobStore, FencesOffAServerWhoseJobAnotherHasTaken) {
  PostgresHome home;
  const auto stalled = home.open(), other = home.open();
  ASSERT_TRUE(enqueue(*stalled, new_job("job_1")));
  const Job before = claim(*stalled)->at(0);
  home.advance(20);
  EXPECT_EQ(wait<std::vector<Job>>([&](auto reply) { other->reap(reply); })->size(), 1u);
  const Job after = claim(*other)->at(0);
  EXPECT_EQ(after.attempt, 2);
  EXPECT_FALSE(*wait<bool>([&](auto reply) { stalled->succeed({"job_1", before.lease}, "late", reply); }));
  EXPECT_TRUE(*wait<bool>([&](auto reply) { other->succeed({"job_1", after.lease}, "in time", reply); }));
  EXPECT_EQ(find(*stalled, "job_1")->outcome, "in time");
}

TEST(PostgresJobStore, TellsTheOtherServersAndNotItself) {
  PostgresHome home;
  const auto store = home.open(), other = home.open();
  std::promise<std::string> heard;
  std::atomic<int> own = 0;
  other->hear([&](const std::string& message) { heard.set_value(message); });
  store->hear([&](const std::string&) { ++own; });
  store->tell("Katze 'äöü'");
  EXPECT_EQ(heard.get_future().get(), "Katze 'äöü'");
  ASSERT_TRUE(wait<Counts>([&](auto reply) { store->count(reply); }));
  EXPECT_EQ(own, 0);
  other->hear(nullptr);
}

TEST(PostgresJobStore, RefusesOnlyTheChangeThatHasNoRoom) {
  PostgresHome home;
  const auto store = home.open();
  // What a full disk says, for some rows.
  test::postgres_ask(home.url(),
                     "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                     "RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;"
                     "CREATE TRIGGER full_disk BEFORE INSERT ON job FOR EACH ROW WHEN (NEW.cost > 5) "
                     "EXECUTE FUNCTION refuse()");
  std::vector<std::future<Result<Enqueued>>> replies;
  for (int i = 0; i < 20; ++i) {
    auto promise = std::make_shared<std::promise<Result<Enqueued>>>();
    replies.push_back(promise->get_future());
    store->enqueue(new_job("job_" + std::to_string(i), "ann", i % 5 == 0 ? 9 : 1),
                   [promise](Result<Enqueued> added) { promise->set_value(std::move(added)); });
  }
  for (int i = 0; i < 20; ++i) {
    const auto added = replies[static_cast<std::size_t>(i)].get();
    EXPECT_EQ(added ? "" : added.error().reason, i % 5 != 0 ? "" : "storage_full") << i;
  }
  EXPECT_FALSE(enqueue(*store, new_job("job_20", "ann", 9)));
  EXPECT_EQ(wait<std::vector<Job>>([&](auto reply) { store->reap(reply); })->size(), 0u);
  EXPECT_FALSE(store->healthy());  // nothing to give back needs no room
  EXPECT_TRUE(enqueue(*store, new_job("job_21")));
  EXPECT_TRUE(store->healthy());
}

TEST(PostgresJobStore, ComesBackByItselfAfterTheDatabaseCrashed) {
  test::PostgresCluster cluster;
  PostgresHome home(cluster);
  const auto store = home.open();
  ASSERT_TRUE(enqueue(*store, new_job("job_1")));
  for (int round = 0; round < 2; ++round) {
    cluster.stop(SIGQUIT);
    const auto refused = enqueue(*store, new_job("job_2"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
    EXPECT_TRUE(refused.error().retry_after);
    EXPECT_FALSE(store->healthy());
    cluster.start();
    EXPECT_EQ(until_it_answers([&] { return find(*store, "job_1"); })->state, JobState::queued);
    EXPECT_TRUE(store->healthy());
  }
  EXPECT_TRUE(enqueue(*store, new_job("job_3")));
}

TEST(PostgresJobStore, DoesNotWaitForeverForADatabaseThatStandsStill) {
  test::PostgresCluster cluster;
  PostgresHome home(cluster);
  PostgresOptions impatient;
  impatient.answer_timeout = 1s;
  const auto store = *open_postgres_job_store(home.url(), {}, impatient);
  ASSERT_TRUE(enqueue(*store, new_job("job_1")));
  const std::vector<pid_t> stopped = backends(cluster);
  ASSERT_EQ(stopped.size(), 1u);
  for (const pid_t pid : {cluster.server(), stopped.front()}) ::kill(pid, SIGSTOP);
  const auto refused = find(*store, "job_1");
  EXPECT_FALSE(refused);
  EXPECT_FALSE(store->healthy());
  // Meanwhile there is no waiting at all.
  const auto started = std::chrono::steady_clock::now();
  EXPECT_FALSE(find(*store, "job_1"));
  EXPECT_LT(std::chrono::steady_clock::now() - started, 500ms);
  for (const pid_t pid : {cluster.server(), stopped.front()}) ::kill(pid, SIGCONT);
  EXPECT_TRUE(until_it_answers([&] { return find(*store, "job_1"); }));
}

TEST(PostgresJobStore, EndsWhileTheDatabaseIsAway) {
  test::PostgresCluster cluster;
  PostgresHome home(cluster);
  auto store = home.open();
  cluster.stop(SIGQUIT);
  EXPECT_FALSE(enqueue(*store, new_job("job_1")));
  store.reset();
  cluster.start();
}

// Connections are cut at random while four servers work: every job ends once all the same.
TEST(PostgresJobStore, LosesNoJobWhenItsConnectionsAreCut) {
  constexpr int kJobs = 60;
  PostgresHome home;
  std::mutex mutex;
  std::multiset<std::string> succeeded;
  std::atomic<int> ended = 0;
  StoreOptions options;
  options.lease = 300ms;
  options.attempts_max = 1000;
  std::vector<std::unique_ptr<JobStore>> stores;
  for (int server = 0; server < 4; ++server) stores.push_back(home.open(options));
  const auto serve = [&](int server) {
    const auto& store = stores[static_cast<std::size_t>(server)];
    for (int i = server; i < kJobs; i += 4) {
      NewJob job = new_job("job_" + std::to_string(i));
      job.idempotency_key = job.id;
      until_it_answers([&] { return enqueue(*store, job); });
    }
    while (ended < kJobs) {
      until_it_answers([&] { return wait<std::vector<Job>>([&](auto reply) { store->reap(reply); }); });
      const auto jobs = claim(*store, 2);
      for (const Job& job : jobs ? *jobs : std::vector<Job>()) {
        const auto held = wait<bool>([&](auto reply) { store->succeed({job.id, job.lease}, "", reply); });
        if (!held || !*held) continue;
        const std::lock_guard lock(mutex);
        succeeded.insert(job.id);
      }
      const auto rows = test::postgres_ask(home.url(), "SELECT count(*) FROM job WHERE state = 'succeeded'");
      if (!rows.empty()) ended = std::stoi(rows.front());
    }
  };
  std::vector<std::jthread> servers;
  for (int server = 0; server < 4; ++server) servers.emplace_back(serve, server);
  while (ended < kJobs) {
    test::postgres_ask(home.url(),
                       "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
                       "'diffused' ORDER BY random() LIMIT 1");
    std::this_thread::sleep_for(20ms);
  }
  servers.clear();
  EXPECT_EQ((std::set<std::string>{succeeded.begin(), succeeded.end()}).size(), succeeded.size());
  EXPECT_THAT(test::postgres_ask(home.url(), "SELECT count(*) FROM job"), ElementsAre("60"));
}

// Sample parameters, in the order of StatementName.
const std::vector<std::string> kSamples{
    "'new', 'owner1', 'pool1', 'key', '0', '1', '{}', 'fresh', '', '3', '1000', '1000', 'req', ''",
    "'owner1', 'fresh'",
    "'job_50000'",
    "'pool1', '-1'",
    "'pool1', '4', 'worker', '1000', 'key3', '-1'",
    "'job_99000', '1', '1000', '5'",
    "'job_99000', '1', 'succeeded', '', '10'",
    "'10', '', 'job_99000', '1', '1'",
    "'10', '', '0'",
    "'job_50000', '10'",
    "'job_100001'",
    "",
    "'owner1', '50000', '21'",
    "'owner1', '50000', '21'",
    "'job_90000'",
    "",
    "'demo', '{}', '5'",
    "",
    "'server', 'demo', '5'",
    "'server'",
    "'32'",
    "",
    "'late', '10', '100'",
    "'failed', '20'",
    "'job_99000'",
    "'pool1'",
    "'pool1'",
    "",
    "",
    "",
};
constexpr std::size_t kCount = 15;

// How many rows a step of the plan has read.
std::size_t rows_of(const std::string& step) {
  static const std::regex kRows(R"(rows=(\d+) loops=(\d+))");
  std::smatch found;
  if (!std::regex_search(step, found, kRows)) return 0;
  return std::stoul(found[1]) * std::stoul(found[2]);
}

void expect_no_long_reads(PostgresLink& link, const char* when) {
  for (std::size_t i = 0; i < kStatements; ++i) {
    ASSERT_TRUE(link.execute("BEGIN"));
    const auto plan =
        link.execute(fmt::format("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE {}{}",
                                 prepared_name(i), kSamples[i].empty() ? "" : "(" + kSamples[i] + ")"));
    ASSERT_TRUE(plan) << plan.error().text << i;
    for (const Values& row : *plan) {
      const std::string& step = *row[0];
      EXPECT_EQ(step.find("Seq Scan on job"), std::string::npos) << when << i << step;
      EXPECT_LE(rows_of(step), i == kCount ? 100'000u : 1500u) << when << i << step;
    }
    ASSERT_TRUE(link.execute("ROLLBACK"));
  }
}

// Each statement reads a hundred thousand waiting jobs through an index and looks at few of them: with plans
// made when the table was empty, and with those made when it is known to be large.
TEST(PostgresJobStore, NeverReadsTheWholeBacklog) {
  PostgresHome home;
  auto link = PostgresLink::connect(home.url(), 60s);
  ASSERT_TRUE(link);
  ASSERT_TRUE(migrate(**link));
  ASSERT_TRUE(prepare_statements(**link));
  expect_no_long_reads(**link, "empty");
  test::postgres_ask(
      home.url(),
      "INSERT INTO job (id, owner, pool, batch_key, priority, share, cost, attempts_max, request_hash, spec, "
      "created, state, attempt, lease, lease_until, finished, expires) SELECT 'job_' || i, 'owner' || i % "
      "50, "
      "'pool' || i % 3, 'key' || i % 7, 0, i, 1, 3, '', '{}', 0, 'queued', 0, 0, NULL, NULL, NULL "
      "FROM generate_series(1, 100000) AS i; "
      "UPDATE job SET state = 'running', lease = 1, attempt = 1, lease_until = 0 WHERE share > 98000; "
      "INSERT INTO job (id, owner, pool, batch_key, priority, share, cost, attempts_max, request_hash, spec, "
      "created, state, finished, expires) SELECT 'job_' || i, 'owner' || i % 50, 'pool1', 'key', 0, i, 1, 3, "
      "'', '{}', 0, 'failed', 1, 1 FROM generate_series(100001, 110000) AS i");
  expect_no_long_reads(**link, "old plans");
  test::postgres_ask(home.url(), "ANALYZE job");
  expect_no_long_reads(**link, "new plans");
}

}  // namespace
}  // namespace diffused::jobstore
