// A bucket of a store that speaks S3 and the four calls that are needed of it, each signed, bounded in time
// and tried again where that may help.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "storage/outage.h"
#include "storage/s3_address.h"
#include "storage/s3_listing.h"
#include "web/client.h"

namespace diffused::storage {

// How long the store is waited for.
struct S3Patience {
  std::chrono::milliseconds connect = std::chrono::seconds(3);
  std::chrono::seconds stall = std::chrono::seconds(10);          // without a byte
  std::chrono::milliseconds transfer = std::chrono::seconds(30);  // one request and its answer
  int attempts = 3;
  std::chrono::milliseconds pause =
      std::chrono::milliseconds(200);  // before the second attempt, then twice as much
  std::chrono::milliseconds attempts_within = std::chrono::seconds(8);  // no further one begins later
  std::chrono::milliseconds outage_pause = std::chrono::seconds(5);     // between calls once one has failed
};

// Errors of all calls: unavailable ("storage_full", or "storage_failed": no answer, refused keys, no such
// bucket, what is no S3). Their messages name the server and what it said: they are for who runs ours, not
// for clients. They are logged here. Names are those below the address's prefix. Any thread, but it waits:
// never an io thread.
class S3Bucket {
 public:
  // `clock` must outlive it.
  S3Bucket(S3Address address, S3Patience patience, const Clock& clock)
      : address_(std::move(address)),
        patience_(patience),
        clock_(clock),
        keys_(address_.key_source),
        outage_(patience.outage_pause, clock) {}

  // Whole or not at all: the store checks the hash.
  Result<void> put(const std::string& name, const std::string& bytes, const std::string& sha256,
                   const std::string& content_type);
  // Errors: also not_found, data_loss (more than `bytes_max`).
  Result<std::string> get(const std::string& name, std::uint64_t bytes_max);
  // Without an error when there is none.
  Result<void> remove(const std::string& name);
  // Those whose names begin with `beginning`.
  Result<std::vector<S3Object>> list(const std::string& beginning);

  // The error of the last call. Never waits.
  Result<void> check() const { return outage_.check(); }

 private:
  struct Call;
  struct Answer;
  Result<std::string> perform(const Call& call);
  Result<Answer> persist(const Call& call);
  Result<Answer> attempt(web::Client& client, const Call& call);
  Result<std::string> judge(const Call& call, Answer answer) const;

  const S3Address address_;
  const S3Patience patience_;
  const Clock& clock_;
  FreshS3Keys keys_;
  Outage outage_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<web::Client>> idle_;  // guarded by mutex_; with their connections
};

}  // namespace diffused::storage
