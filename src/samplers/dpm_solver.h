// What DPM-Solver's two ways of stepping share: Lu et al. 2022, "DPM-Solver: A Fast ODE Solver for Diffusion
// Probabilistic Model Sampling in Around 10 Steps" and "DPM-Solver++: Fast Solver for Guided Sampling of
// Diffusion Probabilistic Models".
#pragma once

#include <functional>

#include "samplers/solver.h"

namespace diffused::samplers {

enum class DpmAlgorithm { dpmsolver, dpmsolver_plus, sde_dpmsolver, sde_dpmsolver_plus };

// Whether a step draws noise.
bool is_stochastic(DpmAlgorithm algorithm);
// Whether the method goes by the picture that the network's output points to, not by the noise.
bool is_plus(DpmAlgorithm algorithm);

// The options of both classes, by Diffusers' names: `algorithm_type` and `solver_type`.
void read_dpm_algorithm(Options& options, DpmAlgorithm& algorithm, bool& heun);
// Refuses what none of the two has.
void check_dpm_options(Options& options, const SolverConfig& solver, DpmAlgorithm algorithm);

// The next latents are sample · latents + first · D0 + second · D1 + third · D2 + noise · (drawn noise),
// where D0 is an output and D1 and D2 are its first two differences; all of no dimension.
struct DpmWeights {
  at::Tensor sample, first, second, third, noise;
};

// From level s to level t, by a method of this order. The algorithm sde_dpmsolver has no third weight.
DpmWeights dpm_weights(DpmAlgorithm algorithm, bool heun, const SolverLevel& t, const SolverLevel& s,
                       int order);

// A method whose steps use the outputs of the steps before.
struct DpmMultistep {
  DpmAlgorithm algorithm = DpmAlgorithm::dpmsolver_plus;
  bool heun = false;
  int solver_order = 2;
  bool lower_order_final = true, euler_at_final = false, zero_final_sigma = true;

  // Of the step of call `index`, where the history holds what the steps before went by.
  int order_at(const Schedule& schedule, int index, const History& history) const;
};

// Where such a step begins.
struct MultistepCall {
  const Schedule& schedule;
  int index;
  std::function<SolverLevel(int place)> level;  // of the schedule
  const at::Tensor& latents;
  const History& history;  // as Stepped::history of the step before
};

// The step; m0: what the method goes by at this call. Noise is drawn where the algorithm draws some.
Stepped dpm_multistep(const DpmMultistep& method, const MultistepCall& call, const at::Tensor& m0,
                      at::Generator& generator);

// What the method goes by, of the network's output for call `index`: the picture or the noise.
at::Tensor dpm_converted(const SolverConfig& solver, DpmAlgorithm algorithm, const Schedule& schedule,
                         int index, const at::Tensor& model_output, const at::Tensor& latents);

}  // namespace diffused::samplers
