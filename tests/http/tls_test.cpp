#include "http/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

#include "http/certificate.h"
#include "http/raw_client.h"
#include "http/test_server.h"
#include "support/files.h"

namespace diffused::http {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
namespace ssl = asio::ssl;

constexpr char kGetSecretly[] = "GET /fine HTTP/1.1\r\nHost: a\r\n\r\n";

class Tls : public testing::Test {
 protected:
  ServerOptions options() const {
    ServerOptions options;
    options.tls = files_;
    return options;
  }

  TemporaryFolder folder_;
  TlsFiles files_ = make_certificate(folder_.path(), "server");
};

// A blocking TLS client.
class TlsClient {
 public:
  explicit TlsClient(std::uint16_t port, int version_max = TLS1_3_VERSION)
      : context_(ssl::context::tls_client) {
    SSL_CTX_set_max_proto_version(context_.native_handle(), version_max);
    SSL_CTX_set_min_proto_version(context_.native_handle(), TLS1_VERSION);
    SSL_CTX_set_security_level(context_.native_handle(), 0);
    static constexpr unsigned char kProtocols[] = "\x02h2\x08http/1.1";
    SSL_CTX_set_alpn_protos(context_.native_handle(), kProtocols, sizeof(kProtocols) - 1);
    stream_.emplace(io_, context_);
    stream_->next_layer().connect({asio::ip::address_v4::loopback(), port});
    stream_->handshake(ssl::stream_base::client, error);
  }

  void send(std::string_view bytes) { asio::write(*stream_, asio::buffer(bytes), error); }
  std::string read_until(std::string_view text) {
    const auto bytes = asio::read_until(*stream_, asio::dynamic_buffer(received_), std::string(text), error);
    std::string taken = received_.substr(0, bytes);
    received_.erase(0, bytes);
    return taken;
  }
  std::string version() { return SSL_get_version(stream_->native_handle()); }
  std::string protocol() {
    const unsigned char* name = nullptr;
    unsigned int bytes = 0;
    SSL_get0_alpn_selected(stream_->native_handle(), &name, &bytes);
    return {reinterpret_cast<const char*>(name), bytes};
  }
  void close() { stream_->next_layer().close(); }
  void shutdown_send() { stream_->next_layer().shutdown(asio::socket_base::shutdown_send); }
  // Of the server's certificate.
  std::string fingerprint() {
    const std::unique_ptr<X509, decltype(&X509_free)> shown(
        SSL_get1_peer_certificate(stream_->native_handle()), X509_free);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int bytes = 0;
    X509_digest(shown.get(), EVP_sha256(), digest, &bytes);
    return {reinterpret_cast<const char*>(digest), bytes};
  }

  boost::system::error_code error;

 private:
  asio::io_context io_;
  ssl::context context_;
  std::optional<ssl::stream<asio::ip::tcp::socket>> stream_;
  std::string received_;
};

Route fine_if_secret() {
  return {"GET", "/fine", [](Exchange& exchange) -> asio::awaitable<void> {
            co_await exchange.send(text_response(exchange.request().tls ? "fine" : "in the clear"));
          }};
}

TEST_F(Tls, ServesOverTls12And13) {
  TestServer server({fine_if_secret()}, options());
  for (const auto& [version_max, name] :
       {std::pair(TLS1_2_VERSION, "TLSv1.2"), std::pair(TLS1_3_VERSION, "TLSv1.3")}) {
    TlsClient client(server.port(), version_max);
    ASSERT_FALSE(client.error) << client.error.message();
    EXPECT_EQ(client.version(), name);
    EXPECT_EQ(client.protocol(), "http/1.1");
    for (int i = 0; i < 2; ++i) {
      client.send(kGetSecretly);
      EXPECT_THAT(client.read_until("fine"), StartsWith("HTTP/1.1 200"));
    }
  }
}

TEST_F(Tls, RefusesOlderVersionsAndPlainRequests) {
  TestServer server({fine_if_secret()}, options());
  EXPECT_TRUE(TlsClient(server.port(), TLS1_1_VERSION).error);
  RawClient plain(server.port());
  plain.send(kGetSecretly);
  plain.rest();
  EXPECT_TRUE(plain.closed_by_server());
}

TEST_F(Tls, HandshakeThatDoesNotEnd) {
  ServerOptions with_deadline = options();
  with_deadline.limits.handshake_timeout = std::chrono::milliseconds(30);
  TestServer server({fine_if_secret()}, with_deadline);
  RawClient silent(server.port());
  EXPECT_EQ(silent.rest(), "");
  EXPECT_TRUE(silent.closed_by_server());
}

TEST_F(Tls, ClientThatClosesCancelsItsHandler) {
  Signal began, ended;
  Latch latch;
  TestServer server({{"GET", "/wait",
                      [&](Exchange& exchange) -> asio::awaitable<void> {
                        const Raiser ticket(ended);
                        began.raise();
                        co_await latch.wait(exchange.executor());
                        co_await exchange.send(text_response("waited"));
                      }}},
                    options());
  TlsClient client(server.port());
  client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(began.wait());
  client.close();
  EXPECT_TRUE(ended.wait());
  EXPECT_TRUE(server.observer->saw("/wait 499"));
}

// The end may come before the answer is out, with it or after it; an idle connection would wait for a minute.
TEST_F(Tls, AClientThatWillSendNothingMoreIsNotWaitedFor) {
  TestServer server({fine_if_secret()}, options());
  const auto started = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) {
    TlsClient client(server.port());
    client.send(kGetSecretly);
    client.shutdown_send();
    client.read_until("what never comes");
    EXPECT_TRUE(client.error);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(30));
}

TEST_F(Tls, BytesThatComeEarlyAreServedNext) {
  Signal began;
  Latch latch;
  TestServer server({{"GET", "/wait",
                      [&](Exchange& exchange) -> asio::awaitable<void> {
                        began.raise();
                        co_await latch.wait(exchange.executor());
                        co_await exchange.send(text_response("waited"));
                      }},
                     fine_if_secret()},
                    options());
  TlsClient client(server.port());
  client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(began.wait());
  client.send(kGetSecretly);
  latch.open();
  EXPECT_THAT(client.read_until("waited"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(client.read_until("fine"), StartsWith("HTTP/1.1 200"));
}

TEST_F(Tls, EndsWithAGoodbye) {
  TestServer server({fine_if_secret()}, options());
  TlsClient client(server.port());
  client.send("GET /fine HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  client.read_until("fine");
  client.read_until("nothing more");
  EXPECT_EQ(client.error, asio::error::eof) << client.error.message();
}

TEST_F(Tls, ServesANewCertificateToNewConnectionsAndKeepsTheOldOneOfABadPair) {
  TestServer server({fine()}, options());
  const auto fingerprint = [&] { return TlsClient(server.port()).fingerprint(); };
  const std::string before = fingerprint();
  TlsClient open(server.port());
  const auto other = make_certificate(folder_.path(), "other");
  // Half of the pair, as between two writes.
  std::filesystem::copy_file(other.certificate, files_.certificate,
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_FALSE(server.server->reload_certificate());
  EXPECT_EQ(fingerprint(), before);
  std::filesystem::copy_file(other.key, files_.key, std::filesystem::copy_options::overwrite_existing);
  ASSERT_TRUE(server.server->reload_certificate());
  EXPECT_TRUE(becomes_true([&] { return fingerprint() != before; }));
  open.send(kGetSecretly);
  EXPECT_THAT(open.read_until("fine"), StartsWith("HTTP/1.1 200"));
}

TEST_F(Tls, ReportsFilesThatDoNotServe) {
  const auto other = make_certificate(folder_.path(), "other");
  const auto absent = folder_.path() / "absent", text = folder_.path() / "text";
  write_file(text, "no PEM");
  const auto field_of = [](const std::string& certificate, const std::string& key) {
    const auto context = make_tls_context(certificate, key);
    return context ? std::string("none") : context.error().field;
  };
  EXPECT_EQ(field_of(files_.certificate, files_.key), "none");
  EXPECT_EQ(field_of(absent, files_.key), absent);
  EXPECT_EQ(field_of(text, files_.key), text);
  EXPECT_EQ(field_of(files_.certificate, absent), absent);
  EXPECT_EQ(field_of(files_.certificate, other.key), other.key);

  asio::io_context io;
  Server server(io, {.tls = TlsFiles{files_.certificate, other.key}}, {fine_if_secret()}, plain_error);
  EXPECT_FALSE(server.listen());
}

}  // namespace
}  // namespace diffused::http
