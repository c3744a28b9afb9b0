// Gives each target the files of its corpus: `fuzz_replay CORPUS [NAME…]`. What once ended a target stays in
// its corpus and must not end it again. No fuzzer is needed for this.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "fuzz/targets.h"

namespace {

namespace fs = std::filesystem;
using diffused::fuzz::Target;

// How many files there were.
int replay(const Target& target, const fs::path& folder) {
  std::error_code error;
  int count = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    std::ifstream stream(entry.path(), std::ios::binary);
    const std::vector<char> content{std::istreambuf_iterator<char>(stream), {}};
    // Said before, so that it stands last when the program ends here.
    std::fprintf(stderr, "%s\n", entry.path().c_str());
    // An allocation of exactly this size, so that a sanitizer sees a read past the end.
    const auto exact = std::make_unique<char[]>(content.size());
    std::copy(content.begin(), content.end(), exact.get());
    target.run({exact.get(), content.size()});
    ++count;
  }
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty()) return 2;
  int empty = 0;
  for (const Target& target : diffused::fuzz::targets()) {
    if (words.size() > 1 && std::find(words.begin() + 1, words.end(), target.name) == words.end()) continue;
    if (replay(target, fs::path(words[0]) / target.name) > 0) continue;
    std::fprintf(stderr, "%s: there is nothing in its corpus\n", std::string(target.name).c_str());
    ++empty;
  }
  return empty == 0 ? 0 : 1;
}
