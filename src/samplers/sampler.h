// START HERE for the room `samplers`: noise schedules and update rules, which Diffusers calls schedulers. A
// sampler has no state: where a picture stands is an index into its schedule, and what a method remembers
// from step to step is a value; both belong to the picture's row.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace diffused::samplers {

// The noise levels of one picture's run, from noise to picture. The network is called once for each
// timestep. Methods that call it twice for a step list both calls.
struct Schedule {
  std::vector<float> sigmas{};     // calls + 1: call i goes from sigmas[i] to sigmas[i + 1]
  std::vector<float> timesteps{};  // calls: what the network is told at call i
  int calls_per_step = 1;
  int begin = 0;     // the first call that is made; image-to-image leaves out those before it
  double eta = 0;    // 0 to 1: how much of its noise a method adds that can do without (DDIM, TCD)
  int left_out = 0;  // of the last calls, which are not made: the picture keeps some of its noise

  int calls() const { return static_cast<int>(timesteps.size()); }
  int end() const { return calls() - left_out; }
};

struct ScheduleRequest {
  int steps = 0;               // 1 or more; the number of custom levels when there are any
  int image_tokens = 0;        // latent pixels / patch², for schedules that depend on the picture's size
  std::vector<double> sigmas;  // custom noise levels, before any shift; empty: the sampler's own spacing
  std::vector<double> timesteps = {};  // the same as timesteps of the training; not with sigmas
  // Of a flow's noise levels, > 0, in place of the config's own; diffusions have none to replace.
  std::optional<double> shift = {};
  // How strongly a schedule is shifted that depends on the picture's size; absent: as its config says.
  std::optional<double> mu = {};
  // Of a consistency model's schedule: the share of the levels it was distilled with that the steps are of,
  // the last ones.
  double strength = 1;
};

// Which levels of one's own a method takes.
struct CustomLevels {
  bool sigmas = false, timesteps = false;
};
// Errors: invalid_argument (no steps; sigmas and timesteps; levels that do not fall from each to the next),
// unsupported (levels that are not taken).
Result<void> check_steps(const ScheduleRequest& request, CustomLevels taken = {});

// Whether each value is a number less than the one before, and the last is not below 0.
bool is_falling(const std::vector<double>& levels);

// The shift of a flow: the request's, or else the config's own. Error: unsupported (field "flow_shift"), when
// the request has one but the picture's size decides (`dynamic`).
Result<double> shift_of(const ScheduleRequest& request, double own, bool dynamic);

// The schedule, when all its numbers are finite. Error: invalid_argument.
Result<Schedule> finite(Schedule schedule);

// What a method remembers of a picture's earlier calls: whose, in which order and how many is the method's
// affair. Empty before the first call. The tensors are never changed, so copies may share them.
using History = std::vector<at::Tensor>;

struct Stepped {
  at::Tensor latents;
  History history;
};

// Immutable; any thread. `index` is a call's place in the schedule: schedule.begin to calls() - 1.
class Sampler {
 public:
  virtual ~Sampler() = default;

  // Whether a family's own sigmas are for this sampler; a request's are refused by schedule() where they
  // mean nothing.
  virtual bool takes_sigmas() const { return false; }

  // As set_timesteps of Diffusers' class, in every bit. Error: invalid_argument, when no such schedule
  // exists; unsupported, for sigmas or timesteps that are not taken.
  virtual Result<Schedule> schedule(const ScheduleRequest& request) const = 0;

  // What unit noise is multiplied with to begin a run from noise alone.
  virtual float first_noise(const Schedule&) const { return 1; }

  // What the network is given of the latents at call `index`: same shape and dtype.
  virtual at::Tensor network_input(const Schedule&, int, const at::Tensor& latents) const { return latents; }

  // The latents for call index + 1, from those of call `index` and the network's output for them: same shape,
  // any floating dtype; the result has the output's dtype. `history` is what the call before returned. Draws
  // from `generator` only if the method is stochastic.
  virtual Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output,
                       const at::Tensor& latents, const History& history, at::Generator& generator) const = 0;

  // What the latents would be without their noise, by the network's output: [shape of latents], float32.
  virtual at::Tensor clean_estimate(const Schedule& schedule, int index, const at::Tensor& model_output,
                                    const at::Tensor& latents) const = 0;

  // Clean latents brought to the noise level of call `index`: where image-to-image starts. Shapes and dtype
  // as x0's.
  virtual at::Tensor add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                               const at::Tensor& noise) const = 0;
};

}  // namespace diffused::samplers
