// What all connections of one server share.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "http/exchange.h"
#include "http/limits.h"
#include "http/policy.h"
#include "http/router.h"

namespace diffused::http {

// One answered request, for metrics. Views are valid during the call.
struct Served {
  std::string_view route;   // the route's pattern; empty when none was reached
  std::string_view method;  // the route's method; empty likewise: a client's own word never becomes a label
  int status = 0;           // 499: the client went away first
  double seconds = 0;       // from the first byte of the request to the last of the answer
  // What the request said, as far as it was read; and the job that was made of it, if the handler named one.
  std::string_view request_id;
  std::string_view user;
  std::string_view peer;
  std::string_view trace;  // its traceparent header
  std::string_view job;
};

// Told what happens; called from any io thread, must not block.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void served(const Served&) {}
  // The shell refused a connection or request; `reason` is one of a fixed set ("bad_request",
  // "connection_limit", …).
  virtual void rejected(std::string_view /*reason*/) {}
};

// Any thread.
struct Counters {
  std::atomic<std::uint64_t> connections_open = 0;
  std::atomic<std::uint64_t> connections_total = 0;
  std::atomic<std::uint64_t> exchanges_open =
      0;  // requests between their first byte and the end of their answer
  std::atomic<std::uint64_t> accept_failures = 0;
  std::atomic<std::uint64_t> handler_faults = 0;
};

// Any thread.
struct Shell {
  Shell(Limits limits, HostPolicy policy, std::vector<Route> routes, ErrorResponder respond_error,
        std::shared_ptr<Observer> observer, std::shared_ptr<MemoryBudget> memory);

  const Limits limits;
  const HostPolicy policy;
  const Router router;
  const ErrorResponder respond_error;
  const std::shared_ptr<Observer> observer;    // never null
  const std::shared_ptr<MemoryBudget> memory;  // null: nobody counts
  Counters counters;
  std::atomic<bool> retiring = false;  // each answer ends its connection
  std::atomic<bool> draining = false;  // so does idleness
};

}  // namespace diffused::http
