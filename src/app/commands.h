// START HERE for `app`: the program. Each sub-command is one file that adds itself to the command line;
// main.cpp lists them. gateway.cpp is a program of its own, without libtorch. Here the rooms are put
// together: options, wiring, signals.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/result.h"

namespace diffused::app {

// Exit statuses: 0 done, 1 failed while running, 2 the command line, a model folder or a file is wrong.
inline constexpr int kFailed = 1;
inline constexpr int kUnusable = 2;

// Prints "diffused: message" on stderr and gives the exit status that suits the error.
int report(const Error& error);

// Each adds its sub-command; when it is chosen the parser calls back and the outcome goes to `exit_status`.
// `arguments` are the process's, as main() was given them: a gateway is another program, which gets them.
void add_serve(CLI::App& program, char** arguments, int& exit_status);
void add_generate(CLI::App& program, int& exit_status);
void add_inspect(CLI::App& program, int& exit_status);
void add_compare(CLI::App& program, int& exit_status);
void add_models(CLI::App& program, int& exit_status);
void add_pull(CLI::App& program, int& exit_status);
void add_key(CLI::App& program, int& exit_status);
void add_migrate(CLI::App& program, int& exit_status);
void add_jobs(CLI::App& program, int& exit_status);
void add_health(CLI::App& program, int& exit_status);

// What --version prints: version_text(), libtorch, and what it uses of this processor.
std::string full_version();

}  // namespace diffused::app
