// What the state machine needs of a database: one prepared statement at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "jobstore/job_store.h"
#include "jobstore/statements.h"

namespace diffused::jobstore {

// Parameters and columns travel as text, UTF-8 without NUL; absent is NULL.
using Values = std::vector<std::optional<std::string>>;
using Rows = std::vector<Values>;

// Any thread; run() never waits.
class Database {
 public:
  virtual ~Database() = default;
  // Runs one statement in a transaction of its own, or in one with others that wait. The reply comes once,
  // on a thread of the database; for a statement that changes, when the change is durable.
  virtual void run(StatementName name, Values parameters, Reply<Rows> reply) = 0;
  // As JobStore's. A database that one process has to itself has nobody to tell.
  virtual void tell(std::string) {}
  virtual void hear(std::function<void(const std::string&)>) {}
  virtual bool healthy() const = 0;
  // Whether it will never work again in this process.
  virtual bool broken() const { return false; }
  // As JobStore's.
  virtual void when_broken(std::function<void()> /*listener*/) {}
  // What the rows take; 0 where that is somebody else's affair.
  virtual std::uint64_t bytes() const { return 0; }
};

}  // namespace diffused::jobstore
