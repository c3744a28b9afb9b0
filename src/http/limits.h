// Every bound of the HTTP shell, by name. The defaults suit a server on the open network.
#pragma once

#include <chrono>
#include <cstddef>

namespace diffused::http {

struct Limits {
  using ms = std::chrono::milliseconds;

  // Connections held at one time. A TLS connection costs about 75 kB, a plain one about 4 kB.
  std::size_t connections_max = 16'384;
  std::size_t tls_connections_max = 4'096;
  std::size_t connections_per_address_max = 4'096;  // IPv6: per /64
  std::size_t requests_per_connection_max = 1'000;
  ms accept_pause = ms(50);  // after the process ran out of descriptors

  std::size_t target_bytes_max = 2 << 10;
  std::size_t header_bytes_max = 16 << 10;
  std::size_t header_fields_max = 64;
  // Received and not yet parsed: a header, a chunk's line, trailers, or requests sent before their turn.
  std::size_t input_bytes_max = 64 << 10;

  ms handshake_timeout = ms(10'000);
  ms header_timeout = ms(10'000);  // from the first byte to the end of the header
  ms idle_timeout = ms(75'000);    // between requests
  // A client that has ended its side may still read. What it asked for without a body goes on for so long;
  // what it sent to be done ends at once, as it does for a client that has gone.
  ms half_close_timeout = ms(2'000);
  // A body may take body_timeout plus the time its bytes need at the slowest rate that is accepted.
  ms body_timeout = ms(30'000);
  ms body_idle_timeout = ms(10'000);  // and may be silent for so long
  std::size_t body_bytes_per_second_min = 64 << 10;

  // A response is written in slices; each slice has write_timeout to leave.
  std::size_t write_slice_bytes = 256 << 10;
  ms write_timeout = ms(30'000);
  // The same for event streams. A second writer may add events up to the backlog while the first is waiting.
  std::size_t stream_backlog_bytes_max = 64 << 10;
  ms stream_write_timeout = ms(10'000);

  // After an error that ends the connection, what the client still sends is read and dropped: most clients
  // send all of a body before they look for an answer, and a connection closed earlier takes the answer with
  // it.
  std::size_t linger_bytes_max = 64 << 20;
  ms linger_timeout = ms(5'000);
};

}  // namespace diffused::http
