#include "base/log.h"

#include <fmt/chrono.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/json_text.h"

namespace diffused {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = spdlog::stderr_logger_mt("diffused");
    made->set_pattern("%v");
    return made;
  }();
  return *instance;
}

std::string timestamp() {
  const auto now = std::chrono::system_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()) % 1000;
  return fmt::format("{:%FT%T}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms.count());
}

// Bytes outside printable ASCII become '?' unless they form part of UTF-8 that the JSON writer passes on
// unchanged.
void make_safe(boost::json::value& value) {
  if (auto* text = value.if_string()) {
    for (char& c : *text)
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  } else if (auto* object = value.if_object()) {
    for (auto& member : *object) make_safe(member.value());
  } else if (auto* array = value.if_array()) {
    for (auto& item : *array) make_safe(item);
  }
}

}  // namespace

void set_log_level(LogLevel level) { logger().set_level(to_spdlog(level)); }

namespace {

// Neither allocates nor fails.
void log_bare(std::string_view event) {
  const iovec parts[] = {{const_cast<char*>("{\"level\": \"error\", \"event\": \""), 29},
                         {const_cast<char*>(event.data()), event.size()},
                         {const_cast<char*>("\"}\n"), 3}};
  static_cast<void>(!::writev(STDERR_FILENO, parts, 3));
}

void log_whole(LogLevel level, std::string_view event, boost::json::object fields) {
  const auto spdlog_level = to_spdlog(level);
  if (!logger().should_log(spdlog_level)) return;
  static constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
  boost::json::object line{{"ts", timestamp()}, {"level", kNames[static_cast<int>(level)]}, {"event", event}};
  for (auto& member : fields) {
    make_safe(member.value());
    line[member.key()] = std::move(member.value());
  }
  logger().log(spdlog_level, "{}", json_text(line));
}

}  // namespace

void log(LogLevel level, std::string_view event, boost::json::object fields) {
  try {
    log_whole(level, event, std::move(fields));
  } catch (const std::exception&) {
    log_bare(event);
  }
}

}  // namespace diffused
