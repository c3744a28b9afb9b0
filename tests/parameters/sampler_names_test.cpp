#include "parameters/sampler_names.h"

#include <gtest/gtest.h>

#include "support/fake_dispatcher.h"

namespace diffused {
namespace {

TEST(SamplerNames, FindWhatTheModelHasUnderAnyOfItsNames) {
  PipelineInfo model = small_model_info();
  const auto found = [&](std::string_view name) { return choose_sampler(model, name).name; };
  for (const char* name :
       {"Euler", "euler", "k_euler", "FlowMatchEulerDiscreteScheduler", "flow_match_euler", ""})
    EXPECT_EQ(found(name), "FlowMatchEulerDiscreteScheduler") << name;
  for (const char* name : {"Euler a", "DPM++ 2M", "FlowMatch", "Karras", "DPM++ 2M Karras"})
    EXPECT_EQ(found(name), "") << name;
  model.schedulers.push_back("DPMSolverMultistepScheduler");
  for (const char* name : {"DPM++ 2M", "dpm++_2m", "dpmpp_2m", "k_dpmpp_2m"})
    EXPECT_EQ(found(name), "DPMSolverMultistepScheduler") << name;
  EXPECT_EQ(sampler_label("DPMSolverMultistepScheduler"), "DPM++ 2M");
  EXPECT_EQ(sampler_label("SomethingElse"), "SomethingElse");
}

TEST(SamplerNames, TellASpacingFromItsSampler) {
  PipelineInfo model = small_model_info();
  const std::string euler = "FlowMatchEulerDiscreteScheduler", karras = euler + ":karras";
  model.schedulers.push_back(karras);
  for (const char* name :
       {"Euler Karras", "k_euler_karras", "k_euler_ka", "FlowMatchEulerDiscreteScheduler:Karras"})
    EXPECT_EQ(choose_sampler(model, name).name, karras) << name;
  EXPECT_EQ(choose_sampler(model, "Euler", "karras").name, karras);
  EXPECT_EQ(choose_sampler(model, "", "Karras").name, karras);
  // What stands in the sampler's own name counts.
  EXPECT_EQ(choose_sampler(model, "Euler Karras", "Beta").name, karras);
  EXPECT_EQ(choose_sampler(model, "Heun", "Automatic").name, "FlowMatchHeunDiscreteScheduler");
  model.schedulers.push_back("DPM++ 2M SDE");
  model.schedulers.push_back("DPM++ 2M SDE Karras");
  EXPECT_EQ(choose_sampler(model, "DPM++ 2M SDE", "Karras").name, "DPM++ 2M SDE Karras");
  EXPECT_EQ(sampler_label(karras), "Euler");
  EXPECT_EQ(spacing_label(karras), "Karras");
  EXPECT_EQ(spacing_label(euler), "Automatic");
  EXPECT_EQ(spacing_label(""), "Automatic");
}

TEST(SamplerNames, KeepTheSamplerWhereTheSpacingDoesNotExist) {
  const PipelineInfo model = small_model_info();
  for (const char* spacing : {"Karras", "Exponential", "Polyexponential", "SGM Uniform", "Simple", "Normal",
                              "Beta", "DDIM", "KL Optimal", "Align Your Steps", "Uniform", "Turbo"}) {
    for (const SamplerChoice& choice :
         {choose_sampler(model, "Heun " + std::string(spacing)), choose_sampler(model, "Heun", spacing)}) {
      EXPECT_EQ(choice.name, "FlowMatchHeunDiscreteScheduler") << spacing;
      EXPECT_EQ(choice.missing, spacing);
    }
  }
  EXPECT_EQ(choose_sampler(model, "Heun Automatic").missing, "");
  EXPECT_EQ(choose_sampler(model, "Heun Automatic").name, "FlowMatchHeunDiscreteScheduler");
}

}  // namespace
}  // namespace diffused
