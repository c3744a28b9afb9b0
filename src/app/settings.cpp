#include "app/settings.h"

#include <cstdlib>

namespace diffused::app {

void set_lease(ServerSettings& settings, double seconds) {
  settings.jobs.lease = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * seconds));
  settings.background.renew = settings.jobs.lease / 3;
}

std::filesystem::path default_data_dir() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state != '\0')
    return std::filesystem::path(state) / "diffused";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
    return std::filesystem::path(home) / ".local/state/diffused";
  return std::filesystem::temp_directory_path() / "diffused";
}

}  // namespace diffused::app
