#include "pipelines/loading_border.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <new>

#include "weights/load_error.h"

namespace diffused::pipelines {
namespace {

Error out_of_memory(const std::filesystem::path& path) {
  return {ErrorCode::out_of_memory,
          fmt::format("{}: not enough memory to load the model", path.string()),
          path.string(),
          {}};
}

}  // namespace

Error loading_error(const std::filesystem::path& path) {
  try {
    throw;
  } catch (const weights::LoadError& error) {
    return error.error;
  } catch (const c10::OutOfMemoryError&) {
    return out_of_memory(path);
  } catch (const std::bad_alloc&) {
    return out_of_memory(path);
  } catch (const std::exception& error) {
    log(LogLevel::error, "model_load_failed", {{"model", path.string()}, {"what", error.what()}});
    return {ErrorCode::internal,
            fmt::format("{}: could not be loaded; the log says why", path.string()),
            path.string(),
            {}};
  }
}

}  // namespace diffused::pipelines
