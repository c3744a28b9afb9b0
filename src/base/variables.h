// Variables of the environment, as a thing that is passed in, so that tests set them without the process's.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace diffused {

// A variable's value; nothing when it is not set or empty.
using Variables = std::function<std::optional<std::string>(const char* name)>;
Variables process_variables();

}  // namespace diffused
