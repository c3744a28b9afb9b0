#include "app/reload.h"

#include <boost/asio/post.hpp>
#include <csignal>

#include "base/log.h"

namespace diffused::app {
namespace {

namespace asio = boost::asio;

volatile std::sig_atomic_t hangup_came = 0;

void note_hangup(int) { hangup_came = 1; }

}  // namespace

void remember_hangups() { std::signal(SIGHUP, note_hangup); }

Reload::Reload(asio::io_context& io, std::vector<Part> parts, std::function<void(std::function<void()>)> post)
    : strand_(asio::make_strand(io)), signals_(strand_), parts_(std::move(parts)), post_(std::move(post)) {}

void Reload::start() {
  if (parts_.empty()) return;
  signals_.add(SIGHUP);
  asio::post(strand_, [this] { hangup_came ? read() : wait(); });
}

void Reload::stop() {
  asio::post(strand_, [this] {
    stopped_ = true;
    signals_.cancel();
  });
}

void Reload::wait() {
  if (stopped_) return;
  signals_.async_wait([this](boost::system::error_code error, int) {
    if (!error) read();
  });
}

// Signals that come meanwhile are kept by the signal_set.
void Reload::read() {
  hangup_came = 0;
  post_([this] {
    for (const Part& part : parts_) {
      const auto done = part.read();
      if (done) log(LogLevel::info, part.name + "_reloaded");
      if (!done) log(LogLevel::error, part.name + "_kept", {{"message", done.error().message}});
    }
    asio::post(strand_, [this] { wait(); });
  });
}

}  // namespace diffused::app
