// A program of ours that runs as a child: reached by one socket, heard by what it prints, and gone when we
// are.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "base/give_way.h"
#include "base/result.h"

namespace diffused::diffusers {

struct ChildCommand {
  std::vector<std::string> arguments;    // the program's path first; kSocket is its end of the socket
  std::vector<std::string> environment;  // NAME=VALUE, all it gets
};

// Owns the process: the destructor ends it, at once, and waits until it is gone.
class ChildProcess final : public WorkElsewhere {
 public:
  // The descriptor that the child finds its socket at.
  static constexpr int kSocket = 3;

  // The calling thread must live as long as the child: the kernel kills it with that thread (PDEATHSIG). It
  // gains no privileges, dumps no core, writes no large file, and has none of our other descriptors. Errors:
  // not_found (no such program), internal (what the system refuses).
  static Result<ChildProcess> start(const ChildCommand& command);

  ChildProcess(ChildProcess&& other) noexcept { *this = std::move(other); }
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess() override;

  pid_t pid() const { return pid_; }
  int socket() const { return socket_; }  // our end
  int output() const { return output_; }  // reads what it prints on stdout and stderr, until it ends
  // Any thread, as often as wanted.
  void kill() const;
  // It stands still until resume(), or its end.
  void halt() override;
  void resume() override;

 private:
  ChildProcess(pid_t pid, int socket, int output) : pid_(pid), socket_(socket), output_(output) {}

  pid_t pid_ = -1;
  int socket_ = -1, output_ = -1;
};

}  // namespace diffused::diffusers
