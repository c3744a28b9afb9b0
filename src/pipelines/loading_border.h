// Where what loading throws ends (the first of the two borders for exceptions).
#pragma once

#include <filesystem>
#include <memory>

#include "base/log.h"
#include "base/result.h"
#include "job/pipeline.h"

namespace diffused::pipelines {

// The error of the exception that is being handled: what a model's file is to blame for, lack of memory, or
// internal, which is logged. To be called in a handler.
Error loading_error(const std::filesystem::path& path);

// Returns what `load` does; what it throws becomes an Error. Never throws.
template <typename Load>
auto at_loading_border(const std::filesystem::path& path, const Load& load) -> decltype(load()) {
  try {
    return load();
  } catch (...) {
    return tl::unexpected(loading_error(path));
  }
}

}  // namespace diffused::pipelines
