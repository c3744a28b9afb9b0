// What a server is told at its start.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/memory_budget.h"
#include "http/limits.h"
#include "http/policy.h"
#include "http/shell.h"

namespace diffused::http {

// PEM files: the certificate with its chain, and its private key.
struct TlsFiles {
  std::string certificate;
  std::string key;
};

struct ServerOptions {
  std::string host = "127.0.0.1";  // an address or a name of this machine; "0.0.0.0" and "::" are all of them
  std::uint16_t port = 0;          // 0: any free one, see Server::port()
  Limits limits = {};
  HostPolicy policy = {};
  std::optional<TlsFiles> tls = std::nullopt;
  std::shared_ptr<Observer> observer = nullptr;
  // What bodies and answers in memory are charged to; null: they are bounded by their routes' limits alone.
  std::shared_ptr<MemoryBudget> memory = nullptr;
};

}  // namespace diffused::http
