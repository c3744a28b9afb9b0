#include "http/tls.h"

#include <openssl/ssl.h>

#include <string_view>

#include "base/files.h"

namespace diffused::http {
namespace {

namespace asio = boost::asio;
namespace ssl = asio::ssl;

constexpr std::size_t kPemBytesMax = 1 << 20;

// Picks http/1.1 when it is offered; a client that offers only others goes on without a choice, as RFC 7301
// allows.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_bytes, const unsigned char* offered,
                    unsigned int offered_bytes, void*) {
  static constexpr unsigned char kServed[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  const int found =
      SSL_select_next_proto(&chosen, out_bytes, kServed, sizeof(kServed) - 1, offered, offered_bytes);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

// A key that needs a password is refused: nobody may be there to be asked.
int know_no_password(char*, int, int, void*) { return 0; }

}  // namespace

Result<std::unique_ptr<ssl::context>> make_tls_context(const std::string& certificate_file,
                                                       const std::string& key_file) {
  auto context = std::make_unique<ssl::context>(ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native,
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_cipher_list(native, "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set_alpn_select_cb(native, choose_protocol, nullptr);

  SSL_CTX_set_default_passwd_cb(native, know_no_password);

  TRY(const std::string certificate, read_whole_file(certificate_file, kPemBytesMax));
  TRY(const std::string key, read_whole_file(key_file, kPemBytesMax));
  boost::system::error_code error;
  context->use_certificate_chain(asio::buffer(certificate), error);
  if (error)
    return fail(ErrorCode::invalid_argument, "not a readable PEM certificate: " + error.message(),
                certificate_file);
  context->use_private_key(asio::buffer(key), ssl::context::pem, error);
  if (error || SSL_CTX_check_private_key(native) != 1)
    return fail(ErrorCode::invalid_argument, "not the readable PEM private key of the certificate", key_file);
  return context;
}

}  // namespace diffused::http
