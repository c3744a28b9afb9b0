#include "http/framing.h"

#include <gtest/gtest.h>

namespace diffused::http {
namespace {

RequestHead post(Headers more) {
  RequestHead head{"POST", "/x", 11, true, {{"host", "a"}}};
  head.headers.insert(head.headers.end(), more.begin(), more.end());
  return head;
}

int framing_status(const RequestHead& head) {
  const auto framing = check_framing(head, Limits());
  return framing ? 200 : framing.error().status;
}

TEST(Framing, FindsHowTheBodyArrives) {
  EXPECT_FALSE(check_framing(post({}), Limits())->has_body());
  EXPECT_FALSE(check_framing(post({{"content-length", "0"}}), Limits())->has_body());
  EXPECT_EQ(check_framing(post({{"content-length", "12"}}), Limits())->content_length, 12u);
  EXPECT_TRUE(check_framing(post({{"transfer-encoding", "Chunked"}}), Limits())->chunked);
}

TEST(Framing, RefusesEveryAmbiguousLength) {
  for (const char* length : {"", "+1", "-1", "-0", "1,1", "1 ", " 1", "0x1", "1e1", "18446744073709551616"})
    EXPECT_EQ(framing_status(post({{"content-length", length}})), 400) << length;
  EXPECT_EQ(framing_status(post({{"content-length", "1"}, {"content-length", "1"}})), 400);
}

TEST(Framing, RefusesEveryTransferEncodingButChunkedAlone) {
  for (const char* encoding :
       {"", "identity", "gzip, chunked", "chunked, identity", "xchunked", "chunked;a", "chunked,"})
    EXPECT_EQ(framing_status(post({{"transfer-encoding", encoding}})), 400) << encoding;
  EXPECT_EQ(framing_status(post({{"transfer-encoding", "chunked"}, {"transfer-encoding", "chunked"}})), 400);
  EXPECT_EQ(framing_status(post({{"transfer-encoding", "chunked"}, {"content-length", "1"}})), 400);
  RequestHead old = post({{"transfer-encoding", "chunked"}});
  old.version = 10;
  EXPECT_EQ(framing_status(old), 400);
}

TEST(Framing, NeedsOneHostInHttp11AndAtMostOneInHttp10) {
  RequestHead head{"GET", "/", 11, true, {}};
  EXPECT_EQ(framing_status(head), 400);
  head.version = 10;
  EXPECT_EQ(framing_status(head), 200);
  head.headers = {{"host", "a"}, {"host", "a"}};
  EXPECT_EQ(framing_status(head), 400);
}

TEST(Framing, RefusesMethodsTargetsAndVersionsItDoesNotSpeak) {
  RequestHead head = post({});
  head.method = "CONNECT";
  EXPECT_EQ(framing_status(head), 400);
  head = post({});
  head.target = "*";
  EXPECT_EQ(framing_status(head), 400);
  head.target = "/" + std::string(Limits().target_bytes_max, 'a');
  EXPECT_EQ(framing_status(head), 414);
  head = post({});
  head.version = 20;
  EXPECT_EQ(framing_status(head), 400);
}

TEST(Framing, BoundsTheNumberOfFields) {
  Headers many(Limits().header_fields_max - 1, {"x", "y"});
  EXPECT_EQ(framing_status(post(many)), 200);
  many.emplace_back("x", "y");
  EXPECT_EQ(framing_status(post(many)), 431);
}

TEST(Framing, RefusesCompressedBodiesAndUnknownExpectations) {
  EXPECT_EQ(framing_status(post({{"content-encoding", "gzip"}})), 415);
  EXPECT_EQ(framing_status(post({{"content-encoding", "identity"}})), 200);
  EXPECT_EQ(framing_status(post({{"expect", "200-maybe"}})), 417);
  EXPECT_TRUE(check_framing(post({{"expect", "100-Continue"}}), Limits())->expects_continue);
}

}  // namespace
}  // namespace diffused::http
