// `diffused key NAME`: a new API key, for `diffused serve --api-keys FILE`.
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "api/keys.h"
#include "app/commands.h"
#include "base/ids.h"

namespace diffused::app {
namespace {

struct KeyOptions {
  api::KeyHolder holder;
  std::vector<std::string> aliases;  // "NAME=MODEL"
  bool from_stdin = false;
};

Result<api::KeyHolder> holder_with_aliases(const KeyOptions& options) {
  api::KeyHolder holder = options.holder;
  for (const std::string& alias : options.aliases) {
    const std::size_t equals = alias.find('=');
    if (equals == std::string::npos)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("--alias is '{}', but NAME=MODEL is wanted", alias));
    holder.aliases[alias.substr(0, equals)] = alias.substr(equals + 1);
  }
  return holder;
}

Result<void> make_key(const KeyOptions& options) {
  std::string key = random_id("sk-");
  if (options.from_stdin) std::getline(std::cin, key);
  if (key.empty()) return fail(ErrorCode::invalid_argument, "there is no key on the standard input");
  TRY(const api::KeyHolder holder, holder_with_aliases(options));
  TRY(const std::string line, api::key_line(holder, key));
  fmt::print("{}\n", line);
  if (!options.from_stdin)
    fmt::print(stderr, "The key of {}, shown only now:\n{}\n", options.holder.name, key);
  return {};
}

}  // namespace

void add_key(CLI::App& program, int& exit_status) {
  const auto options = std::make_shared<KeyOptions>();
  CLI::App* command = program.add_subcommand(
      "key", "Make an API key: its line for the key file on stdout, the key itself on stderr");
  command->add_option("NAME", options->holder.name, "whose key it is: its jobs are counted under this name")
      ->required();
  command
      ->add_option("--priority", options->holder.priority,
                   "of background jobs that are sent with this key: those of higher ones go first")
      ->check(CLI::Range(-api::kPriorityMax, api::kPriorityMax))
      ->capture_default_str();
  command
      ->add_option("--alias", options->aliases,
                   "NAME=MODEL: the model that is meant when a request with this key names NAME")
      ->take_all();
  command->add_flag("--operator", options->holder.is_operator,
                    "the key of somebody who looks after the server: sees everybody's work at /status, and "
                    "may load and unload models");
  command->add_flag("--from-stdin", options->from_stdin,
                    "take the first line of the standard input as the key instead of drawing one");
  command->callback([options, &exit_status] {
    if (const auto done = make_key(*options); !done) exit_status = report(done.error());
  });
}

}  // namespace diffused::app
