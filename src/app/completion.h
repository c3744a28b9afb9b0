// What the command line leaves open is taken from the environment, then from a file.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/result.h"

namespace diffused::app {

// Where the options of a server come from when the command line does not give them.
struct CompletionOptions {
  std::string file;         // empty: none
  bool check_only = false;  // say whether all is well, and end
  bool print_only = false;  // print a file with every option, and end
};

// Adds --config, --check-config and --print-config. `options` must outlive the parsing.
void add_completion_options(CLI::App& command, CompletionOptions& options);

// Gives every option that was not on the command line the value of its variable, DIFFUSED_ and its name in
// capitals (--n-max: DIFFUSED_N_MAX; lists with commas), else that of the file: TOML, one key for each
// option, without the dashes before it; the models are `model`. False when --print-config
// was given: it is done, and nothing is left to do. To be called when `command` has been parsed.
// Errors: invalid_argument, which names the file, its line and the key, and for a key that no option has the
// nearest one; not_found for the file.
Result<bool> complete(CLI::App& command, const CompletionOptions& options);

// Parses `arguments`, of which the first is the program, anew and completes it. Errors: as complete().
Result<void> parse_again(CLI::App& command, const CompletionOptions& options, char** arguments);

// What --check-config prints when it has found nothing.
Result<void> say_all_is_well();

}  // namespace diffused::app
