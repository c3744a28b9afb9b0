#include "diffusers/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace diffused::diffusers {
namespace {

constexpr rlim_t kFileBytesMax = 16 << 20;  // caches of bytecode, nothing larger

tl::unexpected<Error> refused(const char* what) {
  return fail(ErrorCode::internal, fmt::format("{}: {}", what, std::strerror(errno)));
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> made;
  for (const std::string& text : texts) made.push_back(const_cast<char*>(text.c_str()));
  made.push_back(nullptr);
  return made;
}

// Both ends, closed unless released.
struct Ends {
  std::array<int, 2> ends{-1, -1};
  ~Ends() {
    for (const int end : ends)
      if (end >= 0) ::close(end);
  }
  int release(std::size_t which) { return std::exchange(ends.at(which), -1); }
};

void limit(decltype(RLIMIT_CORE) resource, rlim_t most) {
  const rlimit bound{most, most};
  setrlimit(resource, &bound);
}

// In the child, between fork and exec: nothing but system calls. Does not return.
[[noreturn]] void become(char* const* arguments, char* const* environment, int socket, int output,
                         pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it died before the line above
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, kFileBytesMax);
  setpgid(0, 0);  // a terminal's Ctrl-C is for the server
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // Above where they are wanted, so that none is overwritten before it is moved.
  const int moved_socket = fcntl(socket, F_DUPFD, 10), moved_output = fcntl(output, F_DUPFD, 10);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, STDIN_FILENO);
  dup2(moved_output, STDOUT_FILENO);
  dup2(moved_output, STDERR_FILENO);
  dup2(moved_socket, ChildProcess::kSocket);
  close_range(ChildProcess::kSocket + 1, ~0U, 0);
  execve(arguments[0], arguments, environment);
  _exit(127);
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const ChildCommand& command) {
  const std::vector<char*> arguments = pointers(command.arguments);
  const std::vector<char*> environment = pointers(command.environment);
  if (access(arguments[0], X_OK) != 0)
    return fail(ErrorCode::not_found, fmt::format("{}: {}", arguments[0], std::strerror(errno)));
  Ends sockets, outputs;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.ends.data()) != 0)
    return refused("socketpair");
  if (pipe2(outputs.ends.data(), O_CLOEXEC) != 0) return refused("pipe");
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return refused("fork");
  if (pid == 0) become(arguments.data(), environment.data(), sockets.ends[1], outputs.ends[1], parent);
  return ChildProcess(pid, sockets.release(0), outputs.release(0));
}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(socket_, other.socket_);
  std::swap(output_, other.output_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0) return;
  kill();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  ::close(socket_);
  ::close(output_);
}

// It is not waited for before the destructor, so its number is nobody else's.
void ChildProcess::kill() const { ::kill(pid_, SIGKILL); }

void ChildProcess::halt() { ::kill(pid_, SIGSTOP); }

void ChildProcess::resume() { ::kill(pid_, SIGCONT); }

}  // namespace diffused::diffusers
