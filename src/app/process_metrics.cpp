#include "app/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace diffused::app {
namespace {

prometheus::Gauge& process_gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

// The words of /proc/self/stat from the third on, which is the first behind the program's name (proc(5)); in
// that page's numbers less 3. Empty where there is no such file.
std::vector<std::string> stat_words() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream words(text.substr(name_end + 1));
  return {std::istream_iterator<std::string>(words), {}};
}

// Seconds since 1970 at which the machine was started, or 0.
double boot_seconds() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;)
    if (double seconds = 0; word == "btime" && file >> seconds) return seconds;
  return 0;
}

}  // namespace

ProcessMetrics::ProcessMetrics(prometheus::Registry& registry)
    : cpu_seconds_total_(prometheus::BuildCounter()
                             .Name("process_cpu_seconds_total")
                             .Help("Processor time, of all threads")
                             .Register(registry)
                             .Add({})),
      resident_memory_bytes_(process_gauge(registry, "process_resident_memory_bytes", "Memory in use")),
      virtual_memory_bytes_(process_gauge(registry, "process_virtual_memory_bytes", "Memory mapped")),
      threads_(process_gauge(registry, "process_threads", "Threads")),
      open_fds_(process_gauge(registry, "process_open_fds", "Open descriptors")),
      max_fds_(process_gauge(registry, "process_max_fds", "Descriptors that may be open")),
      start_time_seconds_(
          process_gauge(registry, "process_start_time_seconds", "When it was started, in unix seconds")) {}

void ProcessMetrics::refresh() {
  constexpr std::size_t kUserTime = 11, kSystemTime = 12, kThreads = 17, kStart = 19, kVirtual = 20,
                        kResident = 21;
  const std::lock_guard lock(mutex_);
  const std::vector<std::string> words = stat_words();
  if (words.size() <= kResident) return;
  const auto number = [&](std::size_t index) { return std::stod(words[index]); };
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  cpu_seconds_total_.Increment((number(kUserTime) + number(kSystemTime)) / ticks -
                               cpu_seconds_total_.Value());
  resident_memory_bytes_.Set(number(kResident) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  virtual_memory_bytes_.Set(number(kVirtual));
  threads_.Set(number(kThreads));
  start_time_seconds_.Set(boot_seconds() + number(kStart) / ticks);
  std::error_code error;
  const std::filesystem::directory_iterator descriptors("/proc/self/fd", error);
  if (!error) open_fds_.Set(static_cast<double>(std::distance(begin(descriptors), end(descriptors))));
  if (rlimit limit{}; getrlimit(RLIMIT_NOFILE, &limit) == 0)
    max_fds_.Set(static_cast<double>(limit.rlim_cur));
}

}  // namespace diffused::app
