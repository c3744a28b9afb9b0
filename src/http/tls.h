// The TLS settings of the server.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "base/result.h"

namespace diffused::http {

// TLS 1.2 and 1.3 with forward secrecy and authenticated encryption only, no renegotiation, ALPN http/1.1.
// Errors: as read_whole_file; invalid_argument when the key does not belong to the certificate; `field` names
// the file.
Result<std::unique_ptr<boost::asio::ssl::context>> make_tls_context(const std::string& certificate_file,
                                                                    const std::string& key_file);

}  // namespace diffused::http
