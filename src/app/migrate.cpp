// `diffused migrate --store URL`: makes or updates the tables of a job store before any server does.
#include <fmt/format.h>

#include <memory>
#include <string>

#include "app/commands.h"
#include "jobstore/postgres_job_store.h"

namespace diffused::app {
namespace {

Result<void> migrate(const std::string& store) {
  if (!jobstore::is_postgres_url(store))
    return fail(ErrorCode::invalid_argument, "--store must be like postgresql://user@host/name", "--store");
  auto done = jobstore::migrate_postgres(store);
  if (!done) {
    Error error = std::move(done).error();
    error.message = fmt::format("--store: {}", error.message);
    return tl::unexpected(std::move(error));
  }
  if (done->from == done->to) {
    fmt::print("the tables are of version {}: nothing to do\n", done->to);
  } else if (done->from == 0) {
    fmt::print("made the tables, version {}\n", done->to);
  } else {
    fmt::print("brought the tables from version {} to {}\n", done->from, done->to);
  }
  return {};
}

}  // namespace

void add_migrate(CLI::App& program, int& exit_status) {
  const auto store = std::make_shared<std::string>();
  CLI::App* command = program.add_subcommand(
      "migrate", "Make or update the tables of a job store; a server that starts does so too");
  command->add_option("--store", *store, "postgresql://user@host/name")
      ->envname("DIFFUSED_STORE")
      ->required();
  command->callback([store, &exit_status] {
    if (const auto done = migrate(*store); !done) exit_status = report(done.error());
  });
}

}  // namespace diffused::app
