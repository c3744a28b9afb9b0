// What a server that has a model tells those on the same job store that have none.
#pragma once

#include <string>

#include "job/dispatcher.h"

namespace diffused::background {

// One line of JSON, the same from all servers that have the same model; without its name and its time.
std::string write_model(const ServedModel& model);
// Members that are missing stay as they are by default. Error: data_loss when it is none that can be read.
Result<ServedModel> read_model(const std::string& text);

}  // namespace diffused::background
