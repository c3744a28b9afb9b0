#include "base/last_word.h"

#include <cstdlib>
#include <new>

#include "base/log.h"

namespace diffused {

std::string what_of(const std::exception_ptr& fault) {
  if (!fault) return {};
  try {
    std::rethrow_exception(fault);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "not a std::exception";
  }
}

void log_fault(std::string_view event, const std::exception_ptr& fault) noexcept {
  if (!fault) return;
  try {
    log(LogLevel::error, event, {{"what", what_of(fault)}});
  } catch (const std::bad_alloc&) {
    log(LogLevel::error, event);
  }
}

void log_last_words() {
  std::set_terminate([] {
    log_fault("fatal", std::current_exception());
    std::abort();
  });
}

void end_process(std::string_view event, const std::exception_ptr& fault) {
  log_fault(event, fault);
  std::_Exit(EXIT_FAILURE);
}

}  // namespace diffused
