// What a model's PipelineInfo alone says of a request. A loaded model goes further (Pipeline::resolve) and
// begins with this; a server that has not loaded it says this much, in the same words. Pure; any thread.
#pragma once

#include <optional>
#include <string>

#include "job/job.h"

namespace diffused {

// Besides a picture that is repainted where a mask says, as Diffusers' pipelines have it.
inline constexpr int kReferencesWithMaskMax = 1;

// Size, steps and sampler where the request leaves them open; levels of its own say how many steps there are.
void fill_in_defaults(const PipelineInfo& model, GenerateRequest& request);

// How many steps the request's own sigmas or timesteps make; nothing without any. A diffusion's sigmas end
// with the level at which the run ends.
std::optional<int> listed_steps(const PipelineInfo& model, const GenerateRequest& request);

// Of a request that has these. Error: invalid_argument, with the field.
Result<void> check_limits(const PipelineInfo& model, const GenerateRequest& request);

// The error of a request's field that is wrong.
tl::unexpected<Error> wrong_field(std::string message, std::string field);
// Whether least <= value <= most; the error names all three.
Result<void> check_range(int value, int least, int most, const char* field);
// Whether a value that is there is 0 to 1.
Result<void> check_share(const std::optional<double>& value, const char* field);

}  // namespace diffused
