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

// Any thread.
class SdBoard {
 public:
  // One generation. Held by the coroutine that answers it; it leaves the board when the last holder goes.
  class Run {
   public:
    // `images`: those that are made on the way are counted too.
    Run(SdBoard& board, std::string user, std::size_t images, std::int64_t started);
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    // The job that is running now; `cancel` ends it and may be called on any thread.
    void set_cancel(std::function<void()> cancel);
    // Notes what an event says of its progress; its job's first picture is number `first_row`.
    void take(const Event& event, std::size_t first_row);
    bool interrupted() const;

   private:
    friend class SdBoard;
    struct Row {
      int step = 0, steps = 0;
      bool done = false;
    };
    SdProgress progress() const;  // wants the board's mutex

    SdBoard& board_;
    const std::string user_;
    const std::int64_t started_;
    // Guarded by the board's mutex:
    std::vector<Row> rows_;
    std::optional<Image> preview_;
    std::function<void()> cancel_;
    bool interrupted_ = false;
  };

  SdProgress progress(const std::string& user) const;

  // Ends the user's generations; each is answered with the pictures that it has.
  void interrupt(const std::string& user);

  // The checkpoint a user chose, or empty. The last thousand users are remembered.
  std::string checkpoint(const std::string& user) const;
  void choose(const std::string& user, std::string checkpoint);

 private:
  mutable std::mutex mutex_;
  std::vector<Run*> runs_;                                   // the oldest first
  std::deque<std::pair<std::string, std::string>> choices_;  // user and checkpoint, the newest first
};

}  // namespace diffused::api
