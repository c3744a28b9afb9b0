// The fields that say how the denoising steps go: levels of one's own, noise, skip-layer guidance.
#pragma once

#include <vector>

#include "api/fields.h"
#include "api/openai/image_request.h"

namespace diffused::api {

// Bound to `generate`, which must outlive them.
std::vector<Field> step_fields(const RequestLimits& limits, GenerateRequest& generate);

}  // namespace diffused::api
