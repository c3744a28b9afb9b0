// Levels and noise of the caller's own. That pictures with them are Diffusers' is
// tests/parity/test_steps.py's.
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "samplers/catalog.h"
#include "samplers/noise.h"

namespace diffused::samplers {
namespace {

using testing::ElementsAre;

std::shared_ptr<const Sampler> named(const std::string& name, const boost::json::object& options = {}) {
  return make_sampler(name, options).value();
}
Error refusal(const Sampler& sampler, const ScheduleRequest& request) {
  const auto schedule = sampler.schedule(request);
  return schedule ? Error{} : schedule.error();
}

TEST(CustomLevels, AreWhereTheRunGoes) {
  const auto euler = named("EulerDiscreteScheduler");
  const Schedule of_sigmas = euler->schedule({.sigmas = {9, 3, 0.5}}).value();
  EXPECT_THAT(of_sigmas.sigmas, ElementsAre(9, 3, 0.5));
  EXPECT_EQ(of_sigmas.calls(), 2);
  const Schedule of_timesteps = euler->schedule({.steps = 50, .timesteps = {900, 20.5}}).value();
  EXPECT_THAT(of_timesteps.timesteps, ElementsAre(900, 20.5));
  EXPECT_EQ(of_timesteps.sigmas.back(), 0);
  EXPECT_THAT(named("DDPMScheduler")->schedule({.timesteps = {900.7, 20}}).value().timesteps,
              ElementsAre(900, 20));
  EXPECT_EQ(named("HeunDiscreteScheduler")->schedule({.timesteps = {900, 20}}).value().calls(), 3);
}

TEST(CustomLevels, AreRefusedWhereTheyMeanNothing) {
  EXPECT_EQ(refusal(*named("DDIMScheduler"), {.sigmas = {3, 1}}).code, ErrorCode::unsupported);
  EXPECT_EQ(refusal(*named("DDIMScheduler"), {.timesteps = {3, 1}}).field, "timesteps");
  EXPECT_EQ(refusal(*named("EulerDiscreteScheduler:beta"), {.timesteps = {3, 1}}).code,
            ErrorCode::unsupported);
  EXPECT_EQ(refusal(*named("UniPCMultistepScheduler"), {.sigmas = {0.9, 0.1}}).field, "sigmas");
  const auto flow =
      named("UniPCMultistepScheduler", {{"use_flow_sigmas", true}, {"prediction_type", "flow_prediction"}});
  EXPECT_TRUE(flow->schedule({.sigmas = {0.9, 0.1}}));
  EXPECT_EQ(refusal(*flow, {.sigmas = {0.9, 0}}).field, "sigmas");
}

TEST(CustomLevels, FallFromEachToTheNext) {
  const auto euler = named("EulerDiscreteScheduler");
  for (const std::vector<double>& wrong :
       std::vector<std::vector<double>>{{1, 3}, {3, 3}, {3, -1}, {std::nan(""), 1}, {3, std::nan("")}, {3}})
    EXPECT_EQ(refusal(*euler, {.sigmas = wrong}).field, "sigmas");
  EXPECT_EQ(refusal(*euler, {.sigmas = {3, 1}, .timesteps = {30, 1}}).field, "timesteps");
  EXPECT_EQ(refusal(*euler, {.timesteps = {1000, 1}}).field, "timesteps");
  // What is one timestep once it is cut is no fall.
  EXPECT_EQ(refusal(*named("DDPMScheduler"), {.timesteps = {20.7, 20.2}}).field, "timesteps");
}

TEST(Eta, AddsNoiseOfThePicturesOwn) {
  for (const char* name : {"DDIMScheduler", "TCDScheduler"}) {
    const auto method = named(name, {{"clip_sample", false}});
    Schedule schedule = method->schedule({.steps = 4}).value();
    const at::Tensor output = at::ones({1, 4, 2, 2}), latents = at::ones({1, 4, 2, 2}) * 2;
    const auto step = [&](double eta, std::uint64_t seed) {
      schedule.eta = eta;
      at::Generator generator = seeded_generator(seed);
      return method->step(schedule, 1, output, latents, {}, generator).latents;
    };
    EXPECT_TRUE(at::equal(step(0, 1), step(0, 2))) << name;
    EXPECT_TRUE(at::equal(step(0.5, 1), step(0.5, 1))) << name;
    EXPECT_FALSE(at::equal(step(0.5, 1), step(0.5, 2))) << name;
  }
}

}  // namespace
}  // namespace diffused::samplers
