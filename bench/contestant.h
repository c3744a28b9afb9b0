// What our sides of the contests (contest.py) have in common: loading a network, and obeying
// orders.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <malloc.h>

#include <boost/json/parse.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <string>

#include "base/check.h"
#include "weights/checkpoint.h"
#include "weights/scope.h"

namespace diffused::bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

inline std::shared_ptr<weights::Checkpoint> open(const std::filesystem::path& folder,
                                                 const std::string& stem) {
  auto checkpoint = weights::Checkpoint::open(folder, {.stem = stem, .variant = {}});
  CHECK_WITH(checkpoint, checkpoint.error().message);
  return *checkpoint;
}

template <typename Config>
Config read_config(const std::filesystem::path& folder) {
  std::ifstream file(folder / "config.json");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  auto config = Config::from_json(boost::json::parse(text).as_object());
  CHECK_WITH(config, config.error().message);
  return *config;
}

template <typename Network, typename Config>
std::unique_ptr<Network> load(const std::filesystem::path& folder, const std::string& stem,
                              const Config& config) {
  return std::make_unique<Network>(config, weights::Scope(open(folder, stem), "", at::kBFloat16, at::kCPU));
}

// As the program does at its start.
inline void prepare_process(int threads) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0);
  at::set_num_threads(threads);
}

// Says "ready" with the seconds that loading took, then reads orders from stdin: the name of some work runs
// it and "save PATH" writes its last result as raw float32; each is answered by its seconds.
inline void obey(double load_seconds, const std::map<std::string, std::function<at::Tensor()>>& works) {
  std::printf("ready load %.3f\n", load_seconds);
  std::fflush(stdout);
  at::Tensor result;
  for (std::string line; std::getline(std::cin, line);) {
    const auto begin = Clock::now();
    if (line.starts_with("save ")) {
      const at::Tensor values = result.to(at::kFloat).contiguous();
      std::ofstream(line.substr(5), std::ios::binary)
          .write(static_cast<const char*>(values.const_data_ptr()),
                 static_cast<std::streamsize>(values.nbytes()));
    } else {
      result = works.at(line)();
    }
    std::printf("%.4f\n", seconds_since(begin));
    std::fflush(stdout);
  }
}

}  // namespace diffused::bench
