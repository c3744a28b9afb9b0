#include "samplers/flow_match_euler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "samplers/catalog.h"
#include "samplers/golden.h"
#include "samplers/guidance.h"
#include "samplers/noise.h"

namespace diffused::samplers {
namespace {

namespace json = boost::json;

std::shared_ptr<const Sampler> sampler(const json::object& config) {
  return make_sampler("FlowMatchEulerDiscreteScheduler", config).value();
}

TEST(FlowMatchEuler, SchedulesEqualDiffusersBitForBit) {
  int compared = 0;
  for (const auto& item : golden_cases("schedules")) {
    const json::object& config = item.at("config").as_object();
    const ScheduleRequest request{.steps = json::value_to<int>(item.at("steps")),
                                  .image_tokens = 1024,
                                  .sigmas = json::value_to<std::vector<double>>(item.at("custom"))};
    const auto schedule = sampler(config)->schedule(request);
    const std::string about = json::serialize(config) + " " + std::to_string(request.steps);
    if (item.at("expected").is_null()) {
      ASSERT_FALSE(schedule) << about;
      EXPECT_EQ(schedule.error().field, "num_inference_steps");
      continue;
    }
    ASSERT_TRUE(schedule) << about << schedule.error().message;
    EXPECT_EQ(schedule->sigmas, floats_of_bits(item.at("expected").at("sigmas"))) << about;
    EXPECT_EQ(schedule->timesteps, floats_of_bits(item.at("expected").at("timesteps"))) << about;
    ++compared;
  }
  EXPECT_GT(compared, 500);
}

TEST(FlowMatchEuler, ShiftsTwiceAsDiffusersDoes) {
  const auto schedule =
      sampler({{"shift", 3.0}})->schedule({.steps = 4, .image_tokens = 0, .sigmas = {}}).value();
  EXPECT_EQ(schedule.sigmas, (std::vector<float>{1, 0.8576923f, 0.60215056f, 0.008928572f, 0}));
  EXPECT_EQ(schedule.timesteps, (std::vector<float>{1000, 857.6923f, 602.1506f, 8.928572f}));
}

TEST(FlowMatchEuler, StepsAndNoisesAsDiffusersInBothDtypes) {
  for (const auto& item : golden_cases("steps")) {
    const auto dtype = dtype_of(item.at("dtype"));
    at::Generator drawn = seeded_generator(7);
    const at::Tensor latents = draw_noise(drawn, {1, 4, 3, 5}, dtype),
                     output = draw_noise(drawn, {1, 4, 3, 5}, dtype),
                     noise = draw_noise(drawn, {1, 4, 3, 5}, dtype);
    const auto euler = sampler({{"stochastic_sampling", item.at("stochastic")}});
    const Schedule schedule{.sigmas = {float_of_bits(item.at("sigma")), float_of_bits(item.at("sigma_next"))},
                            .timesteps = {0}};
    at::Generator generator = seeded_generator(11);
    const auto expected = [&item](const char* key) {
      return json::value_to<std::vector<std::int64_t>>(item.at(key));
    };
    EXPECT_EQ(bits_of(euler->step(schedule, 0, output, latents, {}, generator).latents), expected("stepped"));
    EXPECT_EQ(bits_of(euler->add_noise(schedule, 0, latents, noise)), expected("noised"));
    EXPECT_EQ(bits_of(guide(output, latents, 3.7)), expected("guided"));
  }
}

TEST(FlowMatchEuler, RefusesAScheduleOfNoSteps) {
  const auto schedule = sampler({})->schedule({.steps = 0, .image_tokens = 0, .sigmas = {}});
  ASSERT_FALSE(schedule);
  EXPECT_EQ(schedule.error().code, ErrorCode::invalid_argument);
}

TEST(FlowMatchEulerConfig, TakesDefaultsForNullAndIgnoresUnknownKeys) {
  const auto config =
      FlowMatchEulerConfig::parse({{"shift", nullptr}, {"shift_terminal", nullptr}, {"_name", 1}});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->shift, 1.0);
  EXPECT_FALSE(config->shift_terminal);
}

TEST(FlowMatchEulerConfig, NamesTheOptionThatDoesNotFit) {
  const auto field = [](const json::object& config) {
    const auto parsed = FlowMatchEulerConfig::parse(config);
    return parsed ? "accepted" : parsed.error().field;
  };
  EXPECT_EQ(field({{"shift", "3"}}), "shift");
  EXPECT_EQ(field({{"shift", 0}}), "shift");
  EXPECT_EQ(field({{"num_train_timesteps", 0}}), "num_train_timesteps");
  EXPECT_EQ(field({{"num_train_timesteps", 10.5}}), "num_train_timesteps");
  EXPECT_EQ(field({{"invert_sigmas", 1}}), "invert_sigmas");
  EXPECT_EQ(field({{"time_shift_type", "cubic"}}), "time_shift_type");
  EXPECT_EQ(field({{"time_shift_type", 1}}), "time_shift_type");
  EXPECT_EQ(field({{"use_karras_sigmas", true}, {"use_beta_sigmas", true}}), "use_beta_sigmas");
  EXPECT_EQ(field({{"use_dynamic_shifting", true}, {"max_image_seq_len", 256}}), "max_image_seq_len");
}

TEST(Catalog, KnowsSamplersByTheirDiffusersName) {
  const auto flow = sampler_names(Process::flow), diffusion = sampler_names(Process::diffusion);
  EXPECT_EQ(flow.front(), "FlowMatchEulerDiscreteScheduler");
  EXPECT_THAT(diffusion, ::testing::Contains("EulerDiscreteScheduler"));
  EXPECT_THAT(flow, ::testing::Not(::testing::Contains("EulerDiscreteScheduler")));
  EXPECT_THAT(diffusion, ::testing::Not(::testing::Contains("FlowMatchEulerDiscreteScheduler")));
  EXPECT_THAT(flow, ::testing::Contains("UniPCMultistepScheduler"));
  EXPECT_THAT(diffusion, ::testing::Contains("UniPCMultistepScheduler"));
  const auto unknown = make_sampler("NoSuchScheduler", {});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::unsupported);
  EXPECT_EQ(unknown.error().field, "scheduler");
}

// The spacings themselves are held against Diffusers above.
TEST(Catalog, KnowsASamplersOtherSpacings) {
  const json::object shifted{{"shift", 3.0}};
  const ScheduleRequest request{.steps = 7, .image_tokens = 64, .sigmas = {}};
  for (const std::string spacing : {"karras", "exponential", "beta"}) {
    json::object options = shifted;
    options["use_" + spacing + "_sigmas"] = true;
    const auto expected = sampler(options)->schedule(request).value();
    const std::string name = "FlowMatchEulerDiscreteScheduler:" + spacing;
    EXPECT_THAT(sampler_names(Process::flow), ::testing::Contains(name));
    EXPECT_EQ(make_sampler(name, shifted).value()->schedule(request)->sigmas, expected.sigmas);
    // Whatever the folder's own is.
    EXPECT_EQ(
        make_sampler(name, {{"shift", 3.0}, {"use_beta_sigmas", true}}).value()->schedule(request)->sigmas,
        expected.sigmas);
    EXPECT_NE(expected.sigmas, sampler(shifted)->schedule(request)->sigmas);
  }
  EXPECT_THAT(sampler_names(Process::flow),
              ::testing::Not(::testing::Contains("DPMSolverMultistepScheduler:karras")));
  EXPECT_THAT(sampler_names(Process::diffusion), ::testing::Contains("DPMSolverMultistepScheduler:karras"));
  for (const char* name : {"FlowMatchEulerDiscreteScheduler:", "FlowMatchEulerDiscreteScheduler:linear",
                           "FlowMatchHeunDiscreteScheduler:karras", ":karras"})
    EXPECT_FALSE(make_sampler(name, {})) << name;
}

TEST(Catalog, TakesAFlowsShiftFromTheRequest) {
  for (const std::string& name : sampler_names(Process::flow)) {
    const auto made = [&](double shift) {
      return make_sampler(name, with_flow_options({{"shift", shift}})).value();
    };
    const ScheduleRequest plain{.steps = 5, .image_tokens = 64, .sigmas = {}};
    ScheduleRequest shifted = plain;
    shifted.shift = 5.0;
    EXPECT_EQ(made(3.0)->schedule(shifted)->sigmas, made(5.0)->schedule(plain)->sigmas) << name;
    EXPECT_NE(made(3.0)->schedule(shifted)->sigmas, made(3.0)->schedule(plain)->sigmas) << name;
  }
  const auto by_size = sampler({{"use_dynamic_shifting", true}});
  const auto refused = by_size->schedule({.steps = 5, .image_tokens = 64, .sigmas = {}, .shift = 2.0});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().field, "flow_shift");
}

TEST(Noise, EqualsTorchGeneratorBitForBit) {
  for (const auto& item : golden_cases("noise")) {
    at::Generator generator = seeded_generator(std::stoull(std::string(item.at("seed").as_string())));
    for (const char* draw : {"first", "second"}) {
      const auto expected = json::value_to<std::vector<std::int64_t>>(item.at(draw));
      const auto count = static_cast<std::int64_t>(expected.size());
      EXPECT_EQ(bits_of(draw_noise(generator, {count}, dtype_of(item.at("dtype")))), expected)
          << item.at("seed") << " " << item.at("dtype") << " " << count;
    }
  }
}

}  // namespace
}  // namespace diffused::samplers
