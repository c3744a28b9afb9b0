// Exceptions where there is nobody left to hand them to: they are said in the log.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace diffused {

// What an exception says of itself; "" of none.
std::string what_of(const std::exception_ptr& fault);

// Logs the fault, if there is one, as an error of that name.
void log_fault(std::string_view event, const std::exception_ptr& fault) noexcept;

// From now on an exception that leaves a thread is said in the log before it ends the process. Once, at the
// start of main().
void log_last_words();

// Ends the process with a word in the log, as what cannot go on without a part must not seem to.
[[noreturn]] void end_process(std::string_view event, const std::exception_ptr& fault);

}  // namespace diffused
