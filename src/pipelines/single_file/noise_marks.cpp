#include "pipelines/single_file/noise_marks.h"

#include <ATen/core/Tensor.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <string>

namespace diffused::pipelines {
namespace {

using weights::Checkpoint;

constexpr const char* kLatentsMean = "edm_mean";
constexpr const char* kLatentsStd = "edm_std";
constexpr const char* kSigmaMin = "edm_vpred.sigma_min";
constexpr const char* kSigmaMax = "edm_vpred.sigma_max";

boost::json::array numbers_of(Checkpoint& file, const std::string& name) {
  boost::json::array numbers;
  if (const auto* const shape = file.shape(name)) {
    const at::Tensor values = file.tensor(name, *shape, at::kDouble, at::kCPU).flatten();
    for (std::int64_t i = 0; i < values.numel(); ++i) numbers.emplace_back(values[i].item<double>());
  }
  return numbers;
}

// Playground v2.5: EDM's noise levels, and latents that are normalised by channel.
void read_latent_marks(Checkpoint& file, NoiseMarks& marks) {
  if (!file.contains(kLatentsMean) || !file.contains(kLatentsStd)) return;
  constexpr double kScale = 0.5;
  marks.scheduler_class = "EDMDPMSolverMultistepScheduler";
  marks.scheduler = {};
  marks.vae_marked = {{"latents_mean", numbers_of(file, kLatentsMean)},
                      {"latents_std", numbers_of(file, kLatentsStd)},
                      {"scaling_factor", kScale}};
}

// CosXL: EDM's noise levels, told as v-prediction.
void read_level_marks(Checkpoint& file, NoiseMarks& marks) {
  const auto least = numbers_of(file, kSigmaMin), most = numbers_of(file, kSigmaMax);
  if (least.empty() && most.empty()) return;
  marks.scheduler_class = "EDMEulerScheduler";
  marks.scheduler = boost::json::parse(
                        R"({"sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 1.0,
                             "prediction_type": "v_prediction", "sigma_schedule": "exponential"})")
                        .as_object();
  if (!least.empty()) marks.scheduler_told["sigma_min"] = least.front();
  if (!most.empty()) marks.scheduler_told["sigma_max"] = most.front();
}

}  // namespace

NoiseMarks read_noise_marks(Checkpoint& file) {
  NoiseMarks marks;
  read_latent_marks(file, marks);
  read_level_marks(file, marks);
  return marks;
}

}  // namespace diffused::pipelines
