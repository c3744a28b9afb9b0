// A line of the log for each request that was answered, so that one can be followed from the balancer to the
// server that made its pictures: the gateway's line names the job, the worker's (job_ended) both.
#pragma once

#include <memory>
#include <utility>

#include "http/shell.h"

namespace diffused::app {

// Any thread. Hands on what it is told.
class AccessLog final : public http::Observer {
 public:
  explicit AccessLog(std::shared_ptr<http::Observer> next) : next_(std::move(next)) {}
  void served(const http::Served& served) override;
  void rejected(std::string_view reason) override { next_->rejected(reason); }

 private:
  const std::shared_ptr<http::Observer> next_;
};

}  // namespace diffused::app
