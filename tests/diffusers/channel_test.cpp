#include "diffusers/channel.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <thread>

namespace diffused::diffusers {
namespace {

using namespace std::chrono_literals;

class ChannelTest : public testing::Test {
 protected:
  ~ChannelTest() override {
    for (const int end : ends_) ::close(end);
  }
  void write(std::string_view bytes) {
    ASSERT_EQ(::write(ends_[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  static std::array<int, 2> make_pair() {
    std::array<int, 2> ends{};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    return ends;
  }

  const std::array<int, 2> ends_ = make_pair();
  Channel near_{ends_[0]}, far_{ends_[1]};
};

TEST_F(ChannelTest, AMessageArrivesAsItWasSent) {
  const std::vector<std::uint8_t> first(300'000, 7), second{1, 2, 3};  // more than the socket holds at once
  std::thread sender([&] { ASSERT_TRUE(near_.send({{"ask", "begin"}}, {first, second}, 5s)); });
  const auto message = far_.receive(5s);
  sender.join();
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->header.at("ask").as_string(), "begin");
  ASSERT_EQ(message->blob.size(), first.size() + second.size());
  EXPECT_EQ(message->blob.front(), 7);
  EXPECT_EQ(message->blob.back(), 3);
}

TEST_F(ChannelTest, SilenceEndsTheWaiting) {
  EXPECT_EQ(near_.receive(20ms).error().code, ErrorCode::deadline);
}

TEST_F(ChannelTest, TheOtherSidesEndIsTold) {
  write(std::string_view("\x02\0\0\0\0\0\0\0{", 9));  // half a message
  ::shutdown(ends_[1], SHUT_WR);
  EXPECT_EQ(near_.receive(5s).error().code, ErrorCode::unavailable);
}

TEST_F(ChannelTest, WhatIsNoMessageIsRefused) {
  write(std::string_view("\x02\0\0\0\0\0\0\0[]", 10));
  EXPECT_EQ(near_.receive(5s).error().code, ErrorCode::data_loss);
  write(std::string_view("\xff\xff\xff\x7f\0\0\0\0", 8));
  EXPECT_EQ(near_.receive(5s).error().code, ErrorCode::data_loss);
}

}  // namespace
}  // namespace diffused::diffusers
