// What AUTOMATIC1111's clients expect a server to remember from one request to the next: how their generation
// is getting on, so that another request can ask or interrupt, and which checkpoint they chose. Theirs is a
// server of one user; here each user has a board of their own.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "job/dispatcher.h"

namespace diffused::api {

// How a user's oldest generation stands. No jobs: there is none.
struct SdProgress {
  std::size_t jobs = 0;  // generations under way
  double progress = 0;   // of the oldest, 0 to 1; the rest is about the same one
  int step = 0;          // of the picture that is furthest and not done
  int steps = 0;
  std::size_t images_done = 0;
  std::int64_t started = 0;  // unix seconds
  bool interrupted = false;
  std::optional<Image> preview;
};

// What a user chose for what follows.
struct SdOptions {
  std::string checkpoint;      // empty: the default
  std::string samples_format;  // "jpg"; empty: png
};

// Any thread.
class SdBoard {
 public:
  // One generation. Held by the coroutine that answers it; it leaves the board when the last holder goes.
  class Run {
   public:
    // `images`: those that are made on the way are counted too. `batch`: how many of them A1111 makes at
    // once.
    Run(SdBoard& board, std::string user, std::size_t images, std::size_t batch, std::int64_t started);
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    // What is running now; `finish` has its pictures below a number finished as they are, and may be called
    // on any thread.
    void set_finish(std::function<void(std::size_t images)> finish);
    // Notes what an event says of its progress: its job's picture i is number first + i * stride.
    void take(const Event& event, std::size_t first, std::size_t stride = 1);
    bool skipped(std::size_t image) const;
    bool interrupted() const;

   private:
    friend class SdBoard;
    struct Row {
      int step = 0, steps = 0;
      bool done = false;
    };
    // These want the board's mutex.
    SdProgress progress() const;
    void skip();

    SdBoard& board_;
    const std::string user_;
    const std::size_t batch_;
    const std::int64_t started_;
    // Guarded by the board's mutex:
    std::vector<Row> rows_;
    std::optional<Image> preview_;
    std::function<void(std::size_t)> finish_;
    std::size_t skipped_ = 0;  // pictures below it are to take no further step
    bool interrupted_ = false;
  };

  SdProgress progress(const std::string& user) const;

  // Ends the user's generations; each is answered with the pictures that it has, the unfinished as they are.
  void interrupt(const std::string& user);

  // Has the batch that the user's oldest generation is at finished as it is; it goes on with the next.
  void skip(const std::string& user);

  // What a user chose. The last thousand users are remembered.
  SdOptions options(const std::string& user) const;
  void choose(const std::string& user, SdOptions options);

 private:
  mutable std::mutex mutex_;
  std::vector<Run*> runs_;                                 // the oldest first
  std::deque<std::pair<std::string, SdOptions>> choices_;  // by user, the newest first
};

}  // namespace diffused::api
