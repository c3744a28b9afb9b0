#include "http/address.h"

#include <gtest/gtest.h>

namespace diffused::http {
namespace {

std::string group(const char* text) { return address_group(boost::asio::ip::make_address(text)); }

TEST(Address, StandsForItselfOrForItsNetwork) {
  EXPECT_EQ(group("192.0.2.7"), "192.0.2.7");
  EXPECT_EQ(group("::ffff:192.0.2.7"), "192.0.2.7");
  EXPECT_EQ(group("::1"), "::1");
  EXPECT_EQ(group("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::/64");
  EXPECT_EQ(group("2001:db8:0:1::"), group("2001:db8:0:1:ffff::9"));
  EXPECT_NE(group("2001:db8:0:1::"), group("2001:db8:0:2::"));
  EXPECT_EQ(group("fe80::1%lo"), "fe80::/64");
}

}  // namespace
}  // namespace diffused::http
