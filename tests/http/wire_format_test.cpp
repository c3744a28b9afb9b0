#include "http/wire_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace diffused::http {
namespace {

TEST(WireFormat, WritesAHeaderBlock) {
  ResponseHead head;
  head.status = 429;
  head.content_type = "application/json";
  head.content_length = 12;
  head.request_id = "req_1";
  head.unix_seconds = 784111777;
  EXPECT_EQ(format_head(head, {{"retry-after", "3"},
                               {"Connection", "upgrade"},
                               {"X-Content-Type-Options", "nosniff"},
                               {"Date", "today"}}),
            "HTTP/1.1 429 Too Many Requests\r\n"
            "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            "server: diffused\r\n"
            "x-request-id: req_1\r\n"
            "x-content-type-options: nosniff\r\n"
            "content-type: application/json\r\n"
            "content-length: 12\r\n"
            "connection: keep-alive\r\n"
            "retry-after: 3\r\n\r\n");
}

TEST(WireFormat, RefusesHeadersThatBreakOutOfTheirLine) {
  EXPECT_TRUE(headers_valid({{"x-a", "b\tc é"}, {"y", ""}}));
  for (const std::string& bad : {std::string("a\r\nb: c"), std::string("a\nb"), std::string("a\0b", 3),
                                 std::string("\x1b[0m"), std::string("\x7f")})
    EXPECT_FALSE(headers_valid({{"x", bad}})) << bad;
  for (const char* bad : {"", "a b", "a:", "a\r", "é"}) EXPECT_FALSE(headers_valid({{bad, "x"}})) << bad;
}

TEST(WireFormat, WritesEventsAndComments) {
  EXPECT_EQ(format_event("done", "{}"), "event: done\ndata: {}\n\n");
  EXPECT_EQ(format_event("", "a\nb\r\nc\rd"), "data: a\ndata: b\ndata: c\ndata: d\n\n");
  EXPECT_EQ(format_event("a\nb", ""), "event: ab\ndata: \n\n");
  EXPECT_EQ(format_event("done", "{}", "2.1\n7"), "id: 2.17\nevent: done\ndata: {}\n\n");
  EXPECT_EQ(format_comment("keep\nalive"), ": keep\n: alive\n\n");
  EXPECT_EQ(format_chunk_size(255), "ff\r\n");
}

TEST(WireFormat, KnowsAWellFormedRequestId) {
  EXPECT_TRUE(request_id_valid("req_1-A.b"));
  EXPECT_FALSE(request_id_valid(""));
  EXPECT_FALSE(request_id_valid("a b"));
  EXPECT_FALSE(request_id_valid("a\n"));
  EXPECT_FALSE(request_id_valid(std::string(129, 'a')));
}

}  // namespace
}  // namespace diffused::http
