#include "app/descriptors.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "base/log.h"

namespace diffused::app {
namespace {

// Pictures that are written and read, the job store, other servers, a model that is being loaded, and those
// who are turned away.
constexpr std::size_t kDescriptorReserve = 256;

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  if (limit.rlim_cur < limit.rlim_max && ::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return limit.rlim_cur;
}

std::size_t count_descriptors() {
  std::error_code error;
  const std::filesystem::directory_iterator open("/proc/self/fd", error);
  return error ? 0 : static_cast<std::size_t>(std::distance(begin(open), end(open)));
}

}  // namespace

void fit_to_descriptors(http::Limits& limits) {
  const std::size_t limit = raise_descriptor_limit();
  const std::size_t open = std::min(count_descriptors(), limit);
  const std::size_t left = limit - open;
  const std::size_t connections = left - std::min(kDescriptorReserve, left / 2);
  const auto bound = [](std::size_t& value, std::size_t most) { value = std::min(value, most); };
  bound(limits.connections_max, connections);
  bound(limits.tls_connections_max, connections);
  bound(limits.connections_per_address_max, std::max<std::size_t>(1, connections - connections / 4));
  log(LogLevel::info, "descriptors",
      {{"limit", limit}, {"open", open}, {"connections_max", limits.connections_max}});
}

}  // namespace diffused::app
