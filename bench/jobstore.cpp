// How many jobs a store takes from 202 to their end: ./dev bench jobstore [--jobs 20000] [--store
// postgresql://…]
//
// A job is four durable changes (enqueue, claim, renew, succeed). Every client waits for each reply before it
// asks again, so the number of clients is the number of changes that can share an fsync; the time of one
// fsync is printed, without which such figures mean nothing.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <future>
#include <semaphore>

#include "base/ids.h"
#include "jobstore/postgres_job_store.h"
#include "jobstore/sqlite_job_store.h"

namespace {

using namespace diffused;
using namespace diffused::jobstore;
using Seconds = std::chrono::duration<double>;

double fsync_seconds(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_CREAT | O_WRONLY, 0600);
  constexpr int kTimes = 200;
  const std::string page(4096, 'x');
  const auto start = std::chrono::steady_clock::now();
  bool good = descriptor >= 0;
  for (int i = 0; good && i < kTimes; ++i)
    good = ::write(descriptor, page.data(), page.size()) > 0 && ::fdatasync(descriptor) == 0;
  ::close(descriptor);
  return good ? Seconds(std::chrono::steady_clock::now() - start).count() / kTimes : 0;
}

// One client: each reply makes the next call, on the store's thread.
class Client {
 public:
  Client(JobStore& store, std::atomic<int>& jobs_left, std::binary_semaphore& done, int number)
      : store_(store), jobs_left_(jobs_left), done_(done), number_(number) {}

  void next() {
    if (jobs_left_.fetch_sub(1) <= 0) return done_.release();
    NewJob job;
    job.id = random_id("job_");
    job.owner = fmt::format("owner{}", number_);
    job.pool = job.owner;  // so that a client claims its own job
    job.spec = std::string(600, 'x');
    store_.enqueue(std::move(job), [this](Result<Enqueued> added) { claim(added.value().job.pool); });
  }

 private:
  void claim(const std::string& pool) {
    store_.claim({{pool}, 1, "bench"}, [this](Result<std::vector<Job>> jobs) {
      const Lease lease{jobs.value().at(0).id, jobs.value().at(0).lease};
      store_.renew(lease, 50, [this, lease](Result<bool>) {
        store_.succeed(lease, std::string(600, 'y'), [this](Result<bool>) { next(); });
      });
    });
  }

  JobStore& store_;
  std::atomic<int>& jobs_left_;
  std::binary_semaphore& done_;
  const int number_;
};

// `url` empty: a file in `folder`.
double jobs_per_second(const std::filesystem::path& folder, const std::string& url, int clients, int jobs) {
  const SystemClock clock;
  const auto store = url.empty()
                         ? open_sqlite_job_store(folder / fmt::format("{}.db", clients), {}, clock).value()
                         : open_postgres_job_store(url, {}).value();
  std::atomic<int> left = jobs;
  std::vector<std::unique_ptr<std::binary_semaphore>> done;
  std::vector<std::unique_ptr<Client>> all;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < clients; ++i) {
    done.push_back(std::make_unique<std::binary_semaphore>(0));
    all.push_back(std::make_unique<Client>(*store, left, *done.back(), i));
    all.back()->next();
  }
  for (const auto& one : done) one->acquire();
  return jobs / Seconds(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  int jobs = 20'000;
  std::string folder = std::filesystem::temp_directory_path() / "diffused_bench_XXXXXX";
  CLI::App program("Jobs from 202 to their end", "bench_jobstore");
  program.add_option("--jobs", jobs);
  std::string url;
  program.add_option("--store", url, "a PostgreSQL; without it a SQLite file");
  CLI11_PARSE(program, argc, argv);
  if (mkdtemp(folder.data()) == nullptr) return 1;
  fmt::print("fdatasync of a page: {:.3f} ms\n",
             1000 * fsync_seconds(std::filesystem::path(folder) / "sync"));
  for (const int clients : {1, 8, 32, 128})
    fmt::print("{:4} clients: {:8.0f} jobs/s\n", clients,
               jobs_per_second(folder, url, clients, clients == 1 ? jobs / 10 : jobs));
  std::filesystem::remove_all(folder);
}
