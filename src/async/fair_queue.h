// Work that waits for a thread, shared out by user: whoever has had least of the threads comes next. Pure;
// one thread at a time.
//
// Each user is charged the seconds that their work took. Of the users with work waiting the one with the
// fewest pieces running comes next, then the one charged least. A newcomer begins level with the user served
// last, so that nobody gains by having been away; and whoever leaves while ahead is remembered until the
// others have caught up.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace diffused {

class FairQueue {
 public:
  struct Taken {
    std::string user;
    std::function<void()> work;
  };

  void push(const std::string& user, std::function<void()> work);
  bool empty() const { return waiting_ == 0; }
  // The next piece; each is to be followed by done().
  std::optional<Taken> take();
  // A piece that was taken has ended after `seconds`.
  void done(const std::string& user, double seconds);

 private:
  struct Share {
    std::deque<std::function<void()>> waiting;
    int running = 0;
    double seconds = 0;
    bool idle() const { return waiting.empty() && running == 0; }
  };
  void forget();

  std::map<std::string, Share> shares_;
  double level_ = 0;  // of the user served last
  std::size_t waiting_ = 0;
};

}  // namespace diffused
