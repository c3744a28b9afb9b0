// Sets, unless the user has, how long the threads of the device's team spin at a barrier before they sleep.
//
// libgomp spins for some 300,000 rounds by default, milliseconds. Where cores are shared, that burns the time
// slices which the last thread at the barrier needs: pictures took five times as long. Not to spin at all
// costs a twentieth of a step on a quiet machine (docs/decisions/0016-threads-that-sleep.md). It reads its
// environment when it is loaded, before main(), so the program starts itself again with the variable set, at
// the first moment it can.

#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which begin before this could
namespace {

constexpr std::size_t kEnvironmentMax = 4096, kPathMax = 4096;
char spin_count[] = "GOMP_SPINCOUNT=3000";

bool names(const char* variable, const char* name) {
  const std::size_t length = std::strlen(name);
  return std::strncmp(variable, name, length) == 0 && variable[length] == '=';
}

// Called by the dynamic linker before any library is initialised: nothing but system calls and strings.
// On any failure the program goes on as it is.
void set_spin_count(int, char** arguments, char** environment) {
  static std::array<char*, kEnvironmentMax + 2> wanted;
  static std::array<char, kPathMax> program;
  std::size_t count = 0;
  for (; environment[count] != nullptr; ++count) {
    if (count == kEnvironmentMax || names(environment[count], "GOMP_SPINCOUNT") ||
        names(environment[count], "OMP_WAIT_POLICY"))
      return;
    wanted[count] = environment[count];
  }
  wanted[count] = spin_count;
  const ssize_t length = readlink("/proc/self/exe", program.data(), program.size() - 1);
  if (length > 0) execve(program.data(), arguments, wanted.data());
}

__attribute__((section(".preinit_array"), used)) void (*const run_first)(int, char**,
                                                                         char**) = set_spin_count;

}  // namespace
#endif
