// One request without a server: through the same engine, so that the same seed gives the same bytes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/models.h"
#include "base/result.h"
#include "job/dispatcher.h"

namespace diffused::app {

struct LoadedModel {
  std::string name;
  std::shared_ptr<Pipeline> pipeline;
};

struct Made {
  std::vector<ImageReady> images;
  Timings timings;
};

// Waits for the pictures; `draw_bar`: how far they are, on stderr. Errors: those of Dispatcher::submit, and
// of the job.
Result<Made> make_pictures(const LoadedModel& model, GenerateRequest request, const ModelOptions& options,
                           bool draw_bar);

// "512x768" into width and height, where they are absent; an empty text changes nothing. Error:
// invalid_argument.
Result<void> parse_size(const std::string& text, GenerateRequest& request);

}  // namespace diffused::app
