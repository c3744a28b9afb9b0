// A PostgreSQL of the tests' own: made in a temporary folder, reached by a socket there and by nothing else,
// and ended with the process that made it, however that ends.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "support/files.h"

namespace diffused::test {

// Runs one or more statements on a connection of its own and returns the first column of the last one's rows.
inline std::vector<std::string> postgres_ask(const std::string& url, const std::string& sql) {
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(url.c_str()), PQfinish);
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(connection.get(), sql.c_str()), PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  EXPECT_TRUE(status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
      << PQerrorMessage(connection.get()) << sql;
  std::vector<std::string> rows;
  for (int row = 0; row < PQntuples(result.get()); ++row) rows.emplace_back(PQgetvalue(result.get(), row, 0));
  return rows;
}

class PostgresCluster {
 public:
  // `settings`: lines of postgresql.conf.
  explicit PostgresCluster(const std::string& settings = {}) {
    if (::geteuid() == 0) {
      // PostgreSQL does not run as root; Debian's package brings this user.
      const passwd* const user = ::getpwnam("postgres");
      EXPECT_NE(user, nullptr) << "tests that run as root need the user of the package postgresql";
      if (user != nullptr && ::chown(folder_.path().c_str(), user->pw_uid, user->pw_gid) != 0)
        ADD_FAILURE() << "chown";
    }
    EXPECT_EQ(wait(spawn({program("initdb"), "--pgdata", data(), "--auth", "trust", "--username", "postgres",
                          "--encoding", "UTF8", "--locale", "C", "--no-sync"})),
              0);
    // A user who has to say a password.
    const std::string access = data() + "/pg_hba.conf";
    write_file(access, "local all guarded scram-sha-256\n" + read_file(access));
    const std::string configuration = data() + "/postgresql.conf";
    write_file(configuration,
               read_file(configuration) + "\nlisten_addresses = ''\nunix_socket_directories = '" +
                   folder_.path().string() + "'\nfsync = off\nautovacuum_naptime = 1\n" + settings + "\n");
    start();
  }
  ~PostgresCluster() { stop(SIGQUIT); }

  // The one that tests share which leave it running.
  static PostgresCluster& shared() {
    static PostgresCluster cluster;
    return cluster;
  }

  void start() {
    server_ = spawn({program("postgres"), "-D", data()});
    while (PQping(url().c_str()) != PQPING_OK) {
      CHECK_WITH(::waitpid(server_, nullptr, WNOHANG) == 0, read_file(folder_.path() / "log"));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  // SIGQUIT is what a crash looks like to clients, and to the data.
  void stop(int how) {
    ::kill(server_, how);
    wait(server_);
  }
  pid_t server() const { return server_; }

  std::string url(const std::string& parameters = {}) const {
    return fmt::format("postgresql:///postgres?host={}&user=postgres{}", folder_.path().string(), parameters);
  }
  // The URL of an empty schema.
  std::string fresh_schema() {
    const std::string name = fmt::format("test_{}", schemas_++);
    postgres_ask(url(), "CREATE SCHEMA " + name);
    return url("&options=-csearch_path%3D" + name);
  }

 private:
  std::string data() const { return (folder_.path() / "data").string(); }

  // Of the newest version that is installed.
  static std::string program(const std::string& name) {
    std::vector<std::filesystem::path> found;
    std::error_code none;
    for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql", none))
      if (std::filesystem::exists(version.path() / "bin" / name)) found.push_back(version.path());
    EXPECT_FALSE(found.empty()) << "the package postgresql is missing";
    const auto newest = std::max_element(found.begin(), found.end(), [](const auto& a, const auto& b) {
      return std::stoi(a.filename()) < std::stoi(b.filename());
    });
    return found.empty() ? name : (*newest / "bin" / name).string();
  }

  // As a process group of its own, which dies with us.
  pid_t spawn(std::vector<std::string> arguments) const {
    std::vector<std::string> all{"/usr/bin/setpriv", "--pdeathsig", "QUIT"};
    if (::geteuid() == 0)
      for (const char* word : {"--reuid", "postgres", "--regid", "postgres", "--clear-groups"})
        all.emplace_back(word);
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::vector<char*> words;
    for (std::string& word : all) words.push_back(word.data());
    words.push_back(nullptr);
    const std::string log = (folder_.path() / "log").string();
    const pid_t child = ::fork();
    if (child == 0) {
      ::setpgid(0, 0);
      const int file = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      ::dup2(file, 1);
      ::dup2(file, 2);
      ::execv(words.front(), words.data());
      ::_exit(127);
    }
    ::setpgid(child, child);
    return child;
  }

  static int wait(pid_t child) {
    int status = -1;
    ::waitpid(child, &status, 0);
    return status;
  }

  TemporaryFolder folder_;
  pid_t server_ = -1;
  std::atomic<int> schemas_ = 0;
};

}  // namespace diffused::test
