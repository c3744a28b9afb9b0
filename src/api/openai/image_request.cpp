#include "api/openai/image_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "api/errors.h"
#include "api/loras.h"
#include "base/ids.h"
#include "job/request_rules.h"
#include "parameters/sampler_names.h"

namespace diffused::api {
namespace {

std::string names_of(const std::vector<ServedModel>& models) {
  std::vector<std::string> names;
  for (const ServedModel& model : models) names.push_back(model.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// What clients send that know no other models.
bool is_like_openais(std::string_view name) {
  return name.starts_with("dall-e") || name.starts_with("gpt-") || name.starts_with("chatgpt-");
}

bool stands_for_default(UnknownModel policy, std::string_view name, std::size_t models) {
  if (name.empty()) return true;
  switch (policy) {
    case UnknownModel::automatic:
      return models == 1;
    case UnknownModel::openai:
      return is_like_openais(name);
    case UnknownModel::serve_default:
      return true;
    case UnknownModel::reject:
      break;
  }
  return false;
}

// Precondition: there are models.
Result<ServedModel> default_model(const ApiOptions& options, const std::vector<ServedModel>& models) {
  if (options.default_model.empty()) return models.front();
  const auto named = find_named(models, options.default_model);
  if (named != models.end()) return *named;
  return later(ErrorCode::unavailable,
               fmt::format("no server has the default model \"{}\" at present", options.default_model),
               "model_away");
}

ResponseFormat default_format(const ApiOptions& options, std::string_view model) {
  switch (options.default_response_format) {
    case DefaultResponseFormat::url:
      return ResponseFormat::url;
    case DefaultResponseFormat::b64_json:
      return ResponseFormat::b64_json;
    case DefaultResponseFormat::automatic:
      break;
  }
  // OpenAI's newer models answer with bytes and its older ones with URLs; clients expect that of the names
  // they send.
  const auto begins = [&](const std::string& prefix) { return model.starts_with(prefix); };
  return std::ranges::any_of(options.b64_model_prefixes, begins) ? ResponseFormat::b64_json
                                                                 : ResponseFormat::url;
}

Result<void> draw_seeds(ImageRequest& request, int n) {
  std::vector<std::uint64_t>& seeds = request.generate.seeds;
  if (request.seeds.size() > 1) {
    if (request.seeds.size() != static_cast<std::size_t>(n)) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("seed lists {} seeds for {} pictures", request.seeds.size(), n), "seed");
    }
    for (const auto& seed : request.seeds) seeds.push_back(seed ? *seed : random_seed());
    return {};
  }
  const std::uint64_t first = request.seeds.empty() || !request.seeds[0] ? random_seed() : *request.seeds[0];
  for (int i = 0; i < n; ++i) seeds.push_back(first + i);
  return {};
}

// Nothing for the quality that is the model's own.
std::optional<int> steps_for(std::string_view quality, const PipelineInfo& model,
                             const RequestLimits& limits) {
  const double factor = quality_of(quality).steps;
  if (factor == 1) return std::nullopt;
  return std::clamp(static_cast<int>(std::lround(model.default_steps * factor)), 1, limits.steps_max);
}

Result<void> check_cost(const RequestLimits& limits, const GenerateRequest& request,
                        const PipelineInfo& info) {
  const double width = request.width.value_or(info.default_width);
  const double height = request.height.value_or(info.default_height);
  const double steps = request.num_inference_steps.value_or(info.default_steps);
  const double cost = width * height * steps * static_cast<double>(request.n());
  if (cost <= limits.pixel_steps_max) return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format(
          "the request is too large: n x width x height x steps is {:.3g}, at most {:.3g} is accepted", cost,
          limits.pixel_steps_max),
      "n", "request_too_costly");
}

}  // namespace

const Quality& quality_of(std::string_view word) {
  static constexpr std::array<Quality, 5> kQualities{
      {{"low", 0.5}, {"medium", 1}, {"high", 1.5}, {"xhigh", 2}, {"max", 3}}};
  if (word == "hd") word = "high";
  const auto* known = std::ranges::find(kQualities, word, &Quality::name);
  return known == kQualities.end() ? kQualities[1] : *known;
}

std::string named_model(const Api& api, const http::Request& http_request, const ImageRequest& request) {
  const auto deployment = http_request.parameters.find("deployment");
  return model_meant(api.options.keys.get(), user_of(http_request),
                     deployment != http_request.parameters.end() ? deployment->second : request.model);
}

Result<ServedModel> choose_model(const Api& api, const std::string& name) {
  const std::vector<ServedModel> models = api.dispatcher.models();
  const auto named = find_named(models, name);
  if (named != models.end()) return *named;
  if (api.dispatcher.remembers(name))
    return fail(ErrorCode::not_found,
                fmt::format("no server has had the model \"{}\" for an hour or longer", name), "model",
                "model_not_found");
  if (models.empty()) return later(ErrorCode::unavailable, "no model is loaded yet", "model_loading");
  if (stands_for_default(api.options.unknown_model, name, models.size()))
    return default_model(api.options, models);
  return fail(ErrorCode::not_found,
              fmt::format("the model \"{}\" is not served; served are: {}", name, names_of(models)), "model",
              "model_not_found");
}

Result<ImageJob> complete(const Api& api, ImageRequest request, const ServedModel& model) {
  const RequestLimits& limits = api.limits();
  if (request.prompt_required && request.generate.prompt.empty())
    return fail(ErrorCode::invalid_argument, "prompt is required", "prompt", "missing_required_parameter");
  request.generate.model = model.name;
  if (!request.generate.num_inference_steps)
    request.generate.num_inference_steps = steps_for(request.quality_preset, model.info, limits);
  if (const auto listed = listed_steps(model.info, request.generate))
    request.generate.num_inference_steps = listed;
  if (!request.generate.scheduler.empty()) {
    const SamplerChoice choice = choose_sampler(model.info, request.generate.scheduler);
    if (!choice.missing.empty())
      return tl::unexpected(
          as_spelled(Error{ErrorCode::invalid_argument,
                           fmt::format("this model has no scheduler \"{}\"; the nearest is {}",
                                       request.generate.scheduler, choice.name),
                           "scheduler",
                           {}},
                     request.spelling));
    if (!choice.name.empty()) request.generate.scheduler = choice.name;
  }
  if (request.generate.flow_shift && !model.info.flow_shift)
    return tl::unexpected(
        as_spelled(Error{ErrorCode::unsupported, "this model's noise levels have no shift", "flow_shift", {}},
                   request.spelling));
  if (auto known = check_loras(model.info, request.generate.loras); !known)
    return tl::unexpected(as_spelled(std::move(known).error(), request.spelling));
  const int n = request.n.value_or(1);
  if (n > limits.n_max)
    return fail(ErrorCode::invalid_argument,
                fmt::format("at most {} pictures are made at once", limits.n_max), "seed");
  TRY_VOID(draw_seeds(request, n));
  if (!request.response_format) request.response_format = default_format(api.options, request.model);
  if (auto cost = check_cost(limits, request.generate, model.info); !cost)
    return tl::unexpected(as_spelled(std::move(cost).error(), request.spelling));
  return ImageJob{std::move(request), model};
}

Error as_spelled(Error error, const Spelling& spelling) {
  auto spelled = spelling.find(error.field);
  const bool side = error.field == "width" || error.field == "height";
  if (spelled == spelling.end() && side) spelled = spelling.find("size");
  if (spelled != spelling.end()) error.field = spelled->second;
  return error;
}

}  // namespace diffused::api
