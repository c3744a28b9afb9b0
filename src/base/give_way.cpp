#include "base/give_way.h"

#include <utility>

namespace diffused {
namespace {

thread_local const ThreadHost* host = nullptr;

}  // namespace

ThreadHost::ThreadHost(Others others) : others_(std::move(others)), outer_(host) { host = this; }

ThreadHost::~ThreadHost() { host = outer_; }

void give_way(WorkElsewhere* elsewhere) {
  if (has_host()) host->others_(elsewhere);
}

bool has_host() { return host != nullptr && host->others_ != nullptr; }

}  // namespace diffused
