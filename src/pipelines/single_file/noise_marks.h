// What a file of Stable Diffusion XL's shapes says of the noise that it was trained on.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "weights/checkpoint.h"

namespace diffused::pipelines {

struct NoiseMarks {
  std::string scheduler_class;  // that is needed; empty: the file has no such marks
  boost::json::object scheduler, scheduler_told, vae_marked;  // as SingleFile's
};

// Playground v2.5 and CosXL have continuous noise levels (EDM), which the others' schedulers would misread in
// silence; tensors mark such a file.
NoiseMarks read_noise_marks(weights::Checkpoint& file);

}  // namespace diffused::pipelines
