// The log: one JSON object a line on stderr. Prompts, keys and image bytes are never written.
#pragma once

#include <boost/json/object.hpp>
#include <string_view>

namespace diffused {

enum class LogLevel { debug, info, warning, error };

// Lines below `level` are dropped. Call once, before threads start.
void set_log_level(LogLevel level);

// Writes {"ts":…,"level":…,"event":event, …fields}. Control bytes and invalid UTF-8 in values are escaped or
// replaced, so that a client cannot forge a line. Any thread; throws nothing, without memory says the event.
void log(LogLevel level, std::string_view event, boost::json::object fields = {});

}  // namespace diffused
