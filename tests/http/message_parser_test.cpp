#include "http/message_parser.h"

#include <gtest/gtest.h>

namespace diffused::http {
namespace {

// Offers `bytes` in pieces of `step`, as a slow connection would; returns the status of a refusal, or 0.
int feed_all(MessageParser& parser, std::string_view bytes, std::size_t step, std::size_t body_bytes_max) {
  std::string waiting;
  while (!parser.done()) {
    const auto piece = bytes.substr(0, step);
    if (piece.empty()) return 0;
    bytes.remove_prefix(piece.size());
    waiting += piece;
    const bool head_before = parser.head_done();
    auto used = parser.feed(waiting);
    if (!used) return used.error().status;
    waiting.erase(0, *used);
    if (head_before || !parser.head_done() || parser.done()) continue;
    parser.expect_body(body_bytes_max);
    used = parser.feed(waiting);
    if (!used) return used.error().status;
    waiting.erase(0, *used);
  }
  return 0;
}

constexpr char kChunked[] =
    "POST /a?b HTTP/1.1\r\nHost: A\r\nX-Two:  b \r\nTransfer-Encoding: chunked\r\n\r\n"
    "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n";

TEST(MessageParser, GivesTheSameMessageHoweverItIsCut) {
  for (const std::size_t step : {1, 2, 3, 7, 1000}) {
    MessageParser parser((Limits()));
    EXPECT_EQ(feed_all(parser, kChunked, step, 7), 0);
    ASSERT_TRUE(parser.done()) << step;
    EXPECT_EQ(parser.take_body(), "abcdefg");
  }
}

TEST(MessageParser, GivesTheHeaderAsItStood) {
  MessageParser parser((Limits()));
  ASSERT_TRUE(parser.feed(kChunked));
  ASSERT_TRUE(parser.head_done());
  EXPECT_FALSE(parser.done());
  const RequestHead head = parser.take_head();
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.target, "/a?b");
  EXPECT_EQ(head.version, 11);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_EQ(head.headers, (Headers{{"host", "A"}, {"x-two", "b"}, {"transfer-encoding", "chunked"}}));
}

TEST(MessageParser, StopsAtTheEndOfTheMessage) {
  const std::string_view two = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n";
  MessageParser parser((Limits()));
  EXPECT_EQ(parser.feed(two).value(), two.find("GET", 1));
  EXPECT_TRUE(parser.done());
}

TEST(MessageParser, HoldsTheBodyToItsLimit) {
  for (const std::size_t step : {1, 1000}) {
    MessageParser parser((Limits()));
    EXPECT_EQ(feed_all(parser, kChunked, step, 6), 413);
  }
}

TEST(MessageParser, HoldsTheHeaderToItsLimit) {
  const std::string line = "X: " + std::string(1000, 'a') + "\r\n";
  std::string bytes = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 20; ++i) bytes += line;
  for (const std::size_t step : {100, 100'000}) {
    MessageParser parser((Limits()));
    EXPECT_EQ(feed_all(parser, bytes, step, 0), 431);
  }
}

}  // namespace
}  // namespace diffused::http
