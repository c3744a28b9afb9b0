#include "http/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace diffused::http {
namespace {

using testing::Contains;
using testing::IsEmpty;
using testing::Key;
using testing::Not;
using testing::Pair;

int host_status(const HostPolicy& policy, std::string_view host) {
  const auto checked = check_host(policy, host);
  return checked ? 200 : checked.error().status;
}

TEST(Loopback, IsWhatOnlyThisMachineReaches) {
  for (const char* host : {"localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "::1"})
    EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host :
       {"", "0.0.0.0", "::", "192.168.1.7", "example.com", "localhost.example", "::ffff:10.0.0.1"})
    EXPECT_FALSE(is_loopback(host)) << host;
}

TEST(HostPolicy, AcceptsItsNamesAndAddresses) {
  HostPolicy policy;
  policy.hosts = {"localhost", "Pictures.example"};
  for (const char* host : {"", "localhost", "LOCALHOST:8000", "pictures.example:80", "127.0.0.1:8000",
                           "[::1]:8000", "192.168.1.7"})
    EXPECT_EQ(host_status(policy, host), 200) << host;
  for (const char* host :
       {"evil.example", "localhost.evil.example", "evillocalhost", "127.0.0.1.evil.example",
        "pictures.example.", "2130706433", "10.0.0.1.nip.io", "a.example:"})
    EXPECT_EQ(host_status(policy, host), 403) << host;
  for (const char* host :
       {"user@localhost", "localhost/x", "localhost:8o", "localhost:80:80", "[]", "[::1]x", "[::1", "a b"})
    EXPECT_EQ(host_status(policy, host), 400) << host;
}

TEST(HostPolicy, SaysWhichNameItIsAndHowToAllowIt) {
  for (const char* host :
       {"nas.local:8000", "NAS.local", "host.docker.internal:8000", "my_server", "10-0-0-1.example"}) {
    const auto checked = check_host(HostPolicy{}, host);
    ASSERT_FALSE(checked);
    const std::string name = std::string(host).substr(0, std::string(host).find(':'));
    EXPECT_THAT(checked.error().error.message, testing::HasSubstr("'" + name + "'"));
    EXPECT_THAT(checked.error().error.message, testing::HasSubstr("--allowed-host " + name));
  }
  const auto checked = check_host(HostPolicy{}, std::string(5000, 'a'));
  EXPECT_LT(checked.error().error.message.size(), 1000u);
}

TEST(HostPolicy, CanInsistOnNamesOrAcceptAny) {
  HostPolicy policy;
  policy.address_hosts = false;
  EXPECT_EQ(host_status(policy, "127.0.0.1"), 403);
  policy.hosts = {"*"};
  EXPECT_EQ(host_status(policy, "anything.example"), 200);
}

RequestHead request(std::string method, Headers headers) {
  headers.emplace_back("host", "localhost:8000");
  return {std::move(method), "/x", 11, true, std::move(headers)};
}

bool may(const HostPolicy& policy, std::string method, Headers headers) {
  return check_origin(policy, request(std::move(method), std::move(headers)), false).has_value();
}

TEST(HostPolicy, RefusesChangesByForeignPages) {
  HostPolicy policy;
  policy.origins = {"https://app.example:8443"};
  EXPECT_TRUE(may(policy, "POST", {}));
  EXPECT_TRUE(may(policy, "POST", {{"origin", "http://localhost:8000"}}));
  EXPECT_TRUE(
      may(policy, "POST", {{"origin", "https://app.example:8443"}, {"sec-fetch-site", "cross-site"}}));
  for (const char* origin : {"null", "http://localhost", "http://localhost:8001", "https://localhost:8000",
                             "http://localhost:8000.evil.example", "https://app.example",
                             "http://app.example:8443", "https://app.example:84433", "file://"})
    EXPECT_FALSE(may(policy, "POST", {{"origin", origin}})) << origin;
  EXPECT_FALSE(may(policy, "POST", {{"sec-fetch-site", "cross-site"}}));
  EXPECT_FALSE(may(policy, "DELETE", {{"origin", "null"}}));
  EXPECT_TRUE(may(policy, "POST", {{"sec-fetch-site", "same-origin"}}));
}

TEST(HostPolicy, LeavesReadingOpenWithoutShowingTheAnswer) {
  EXPECT_TRUE(may({}, "GET", {{"origin", "http://evil.example"}, {"sec-fetch-site", "cross-site"}}));
  EXPECT_THAT(cors_headers({}, request("GET", {{"origin", "http://evil.example"}}), false), IsEmpty());
}

TEST(HostPolicy, WildcardAllowsEveryOrigin) {
  HostPolicy policy;
  policy.origins = {"*"};
  EXPECT_TRUE(may(policy, "POST", {{"origin", "null"}}));
  EXPECT_THAT(cors_headers(policy, request("GET", {{"origin", "null"}}), false),
              Contains(Pair("access-control-allow-origin", "null")));
}

TEST(HostPolicy, AnswersPreflightsOfAllowedOriginsOnly) {
  HostPolicy policy;
  policy.origins = {"https://app.example"};
  const auto preflight = [&](const char* origin, const char* wanted) {
    return options_headers(policy,
                           request("OPTIONS", {{"origin", origin},
                                               {"access-control-request-headers", wanted},
                                               {"access-control-request-private-network", "true"}}),
                           false, {"OPTIONS", "POST"});
  };
  const auto allowed = preflight("https://app.example", "authorization, x-stainless-lang");
  EXPECT_THAT(allowed, Contains(Pair("access-control-allow-methods", "OPTIONS, POST")));
  EXPECT_THAT(allowed, Contains(Pair("access-control-allow-headers", "authorization, x-stainless-lang")));
  EXPECT_THAT(allowed, Contains(Pair("access-control-allow-private-network", "true")));
  EXPECT_THAT(preflight("https://app.example", "a;b"),
              Contains(Pair("access-control-allow-headers", "authorization, content-type, api-key")));
  const auto refused = preflight("https://evil.example", "authorization");
  EXPECT_THAT(refused, Contains(Pair("allow", "OPTIONS, POST")));
  EXPECT_THAT(refused, Not(Contains(Key("access-control-allow-methods"))));
}

}  // namespace
}  // namespace diffused::http
