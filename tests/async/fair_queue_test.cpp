#include "async/fair_queue.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace diffused {
namespace {

// Takes `count` pieces one after the other, each of its user's length, and says whose they were.
std::string run(FairQueue& queue, int count, const std::map<std::string, double>& seconds) {
  std::string users;
  for (int i = 0; i < count; ++i) {
    const auto taken = queue.take();
    if (!taken) break;
    users += taken->user;
    queue.done(taken->user, seconds.at(taken->user));
  }
  return users;
}

void push(FairQueue& queue, const std::string& user, int count) {
  for (int i = 0; i < count; ++i) queue.push(user, [] {});
}

TEST(FairQueue, SharesOutSecondsAndNotPieces) {
  FairQueue queue;
  push(queue, "a", 20);
  push(queue, "b", 20);
  EXPECT_EQ(run(queue, 12, {{"a", 1}, {"b", 0.25}}), "abbbbabbbbab");
}

TEST(FairQueue, LetsANewcomerGoNext) {
  FairQueue queue;
  push(queue, "a", 20);
  run(queue, 5, {{"a", 1}});
  push(queue, "b", 1);
  EXPECT_EQ(queue.take()->user, "b");
}

// Being away saves nothing up: the one who comes back is level, and does not go first for long.
TEST(FairQueue, GivesNothingForHavingBeenAway) {
  FairQueue queue;
  push(queue, "a", 40);
  push(queue, "b", 1);
  run(queue, 10, {{"a", 1}, {"b", 1}});
  push(queue, "b", 20);
  const std::string users = run(queue, 6, {{"a", 1}, {"b", 1}});
  EXPECT_EQ(std::count(users.begin(), users.end(), 'a'), 3) << users;
}

TEST(FairQueue, RemembersWhoLeftAhead) {
  FairQueue queue;
  push(queue, "a", 40);
  run(queue, 1, {{"a", 1}});
  push(queue, "b", 1);
  run(queue, 1, {{"b", 10}});  // a long piece, then away
  run(queue, 1, {{"a", 1}});
  push(queue, "b", 1);
  EXPECT_EQ(run(queue, 5, {{"a", 1}, {"b", 1}}), "aaaaa");
}

TEST(FairQueue, GivesTheNextThreadToWhoeverHasNone) {
  FairQueue queue;
  push(queue, "a", 5);
  EXPECT_EQ(queue.take()->user, "a");
  push(queue, "b", 5);
  EXPECT_EQ(queue.take()->user, "b");
  queue.done("b", 100);
  EXPECT_EQ(queue.take()->user, "b");  // a has one running still
}

TEST(FairQueue, EndsEmpty) {
  FairQueue queue;
  EXPECT_FALSE(queue.take());
  push(queue, "a", 1);
  EXPECT_FALSE(queue.empty());
  run(queue, 1, {{"a", 1}});
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.take());
}

}  // namespace
}  // namespace diffused
