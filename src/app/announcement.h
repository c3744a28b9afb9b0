// What a server says when it listens.
#pragma once

#include <cstdint>

#include "app/settings.h"

namespace diffused::app {

// A line of the log, and on stdout "listening on URL" and, where clients may ask, how to.
void announce(const ServerSettings& settings, std::uint16_t port);

}  // namespace diffused::app
