// A machine that fails on demand, for a program that is started with this library preloaded: allocations,
// writes, syncs, accepts and thread starts fail, and the clock jumps, as the file that DIFFUSED_FAULTS names
// says while the program runs. bench/failing.py writes it.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <ctime>

extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* old, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
}

namespace {

// One kind of failure; the layout that failing.py knows.
struct Fault {
  std::atomic<std::uint64_t> every;      // each so-manieth call fails; 0: none
  std::atomic<std::uint64_t> bytes_min;  // calls for less neither count nor fail
  std::atomic<std::uint64_t> left;       // how many may still fail
  std::atomic<std::uint64_t> calls;      // since it was set
  std::atomic<std::uint64_t> failed;
};
enum Kind { kMalloc, kWrite, kSync, kAccept, kThread, kKinds };
struct Orders {
  Fault faults[kKinds];
  std::atomic<std::int64_t> clock_seconds;  // how far the clock has jumped
};

Orders* orders = nullptr;

__attribute__((constructor)) void read_orders() {
  const char* const name = std::getenv("DIFFUSED_FAULTS");
  const int file = name != nullptr ? ::open(name, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void* const mapped = ::mmap(nullptr, sizeof(Orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (mapped != MAP_FAILED) orders = static_cast<Orders*>(mapped);
}

bool fails(Kind kind, std::uint64_t bytes = 0) {
  if (orders == nullptr) return false;
  Fault& fault = orders->faults[kind];
  const std::uint64_t every = fault.every;
  if (every == 0 || bytes < fault.bytes_min) return false;
  if (++fault.calls % every != 0) return false;
  std::uint64_t left = fault.left;
  while (left > 0 && !fault.left.compare_exchange_weak(left, left - 1)) {
  }
  if (left > 0) ++fault.failed;
  return left > 0;
}

bool armed(Kind kind) { return orders != nullptr && orders->faults[kind].every != 0; }

// Sockets, pipes and the like are not the disk.
bool is_on_disk(int file) {
  struct stat status {};
  return ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
}

bool write_fails(int file, std::size_t bytes) {
  if (!armed(kWrite) || !is_on_disk(file) || !fails(kWrite, bytes)) return false;
  errno = EIO;
  return true;
}

template <typename Function>
Function next(const char* name, Function) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

void* no_memory() {
  errno = ENOMEM;
  return nullptr;
}

}  // namespace

extern "C" {

void* malloc(std::size_t bytes) { return fails(kMalloc, bytes) ? no_memory() : __libc_malloc(bytes); }
void* calloc(std::size_t count, std::size_t bytes) {
  return fails(kMalloc, count * bytes) ? no_memory() : __libc_calloc(count, bytes);
}
void* realloc(void* old, std::size_t bytes) {
  return fails(kMalloc, bytes) ? no_memory() : __libc_realloc(old, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) {
  return fails(kMalloc, bytes) ? no_memory() : __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** to, std::size_t alignment, std::size_t bytes) {
  void* const made = memalign(alignment, bytes);
  if (made == nullptr) return ENOMEM;
  *to = made;
  return 0;
}

ssize_t write(int file, const void* bytes, std::size_t count) {
  static const auto real = next("write", &write);
  return write_fails(file, count) ? -1 : real(file, bytes, count);
}
ssize_t pwrite(int file, const void* bytes, std::size_t count, off_t at) {
  static const auto real = next("pwrite", &pwrite);
  return write_fails(file, count) ? -1 : real(file, bytes, count, at);
}
ssize_t pwrite64(int file, const void* bytes, std::size_t count, off64_t at) {
  static const auto real = next("pwrite64", &pwrite64);
  return write_fails(file, count) ? -1 : real(file, bytes, count, at);
}

int fsync(int file) {
  static const auto real = next("fsync", &fsync);
  if (!fails(kSync)) return real(file);
  errno = EIO;
  return -1;
}
int fdatasync(int file) {
  static const auto real = next("fdatasync", &fdatasync);
  if (!fails(kSync)) return real(file);
  errno = EIO;
  return -1;
}

int accept(int socket, sockaddr* address, socklen_t* bytes) {
  static const auto real = next("accept", &accept);
  if (!fails(kAccept)) return real(socket, address, bytes);
  errno = EMFILE;
  return -1;
}
int accept4(int socket, sockaddr* address, socklen_t* bytes, int flags) {
  static const auto real = next("accept4", &accept4);
  if (!fails(kAccept)) return real(socket, address, bytes, flags);
  errno = EMFILE;
  return -1;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* how, void* (*run)(void*), void* argument) {
  static const auto real = next("pthread_create", &pthread_create);
  return fails(kThread) ? EAGAIN : real(thread, how, run, argument);
}

int clock_gettime(clockid_t clock, timespec* time) {
  static const auto real = next("clock_gettime", &clock_gettime);
  const int done = real(clock, time);
  if (done == 0 && clock == CLOCK_REALTIME && orders != nullptr) time->tv_sec += orders->clock_seconds;
  return done;
}
time_t time(time_t* to) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (to != nullptr) *to = now.tv_sec;
  return now.tv_sec;
}
int gettimeofday(timeval* to, void*) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  *to = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

}  // extern "C"
