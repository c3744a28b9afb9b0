// Bytes as files, for what is read from files.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace diffused::fuzz {

// A folder of this process in memory.
class Scratch {
 public:
  Scratch() : folder_(std::filesystem::path("/dev/shm") / ("diffused_fuzz_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  // The file `name` in a folder of that name.
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::filesystem::create_directories(folder_ / name);
    std::ofstream(folder_ / name / name, std::ios::binary) << bytes;
    return folder_ / name / name;
  }

 private:
  std::filesystem::path folder_;
};

inline const Scratch& scratch() {
  static const Scratch kScratch;
  return kScratch;
}

}  // namespace diffused::fuzz
