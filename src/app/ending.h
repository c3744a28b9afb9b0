// What the end of the server rests on.
#pragma once

#include <chrono>
#include <exception>
#include <stop_token>

namespace diffused::app {

// Ends the process by force after `patience`, unless all have ended by then. Nothing that hangs, a device or
// a disk, keeps the process from ending. What it was to keep is kept: a job is in its store before it is
// accepted, and goes on elsewhere or after the next start.
void end_after(std::stop_token all_ended, std::chrono::seconds patience);

// For a coroutine without which the server would never end.
void or_end(const std::exception_ptr& fault);

}  // namespace diffused::app
