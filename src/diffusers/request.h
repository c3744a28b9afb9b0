// What a request means to a pipeline in Diffusers. Pure; any thread.
#pragma once

#include <boost/json/object.hpp>

#include "diffusers/description.h"

namespace diffused::diffusers {

// As Pipeline::resolve: defaults from the signature; fields that the call does not take are refused by name.
Result<GenerateRequest> resolve_request(const Description& model, GenerateRequest request);

// The arguments of the call for picture `image_index` of a resolved request, by Diffusers' names, with its
// seed and scheduler.
boost::json::object call_arguments(const Description& model, const GenerateRequest& resolved,
                                   std::size_t image_index);

// Estimated floating point operations of one step of one picture, and of the whole picture.
struct PictureWork {
  double step_flops = 0, picture_flops = 0;
};
PictureWork work_of(const Description& model, const GenerateRequest& resolved);

}  // namespace diffused::diffusers
