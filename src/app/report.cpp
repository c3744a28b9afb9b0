#include <fmt/format.h>

#include "app/commands.h"

namespace diffused::app {

int report(const Error& error) {
  fmt::print(stderr, "diffused: {}\n", error.message);
  switch (error.code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::not_found:
    case ErrorCode::unsupported:
    case ErrorCode::data_loss:
      return kUnusable;
    default:
      return kFailed;
  }
}

}  // namespace diffused::app
