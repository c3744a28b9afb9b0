#include "app/ending.h"

#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "base/last_word.h"
#include "base/log.h"

namespace diffused::app {

void end_after(std::stop_token all_ended, std::chrono::seconds patience) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any().wait_for(lock, all_ended, patience, [] { return false; });
  if (all_ended.stop_requested()) return;
  log(LogLevel::error, "ended_by_force", {{"after_seconds", patience.count()}});
  std::_Exit(1);
}

void or_end(const std::exception_ptr& fault) {
  if (fault) end_process("end_failed", fault);
}

}  // namespace diffused::app
