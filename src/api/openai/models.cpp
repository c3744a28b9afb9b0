#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/endpoints.h"
#include "api/openai/answer.h"

namespace diffused::api {
namespace {

json::object describe_model(const ServedModel& model, const std::string& id) {
  const PipelineInfo& info = model.info;
  json::array capabilities{"image_generation"};
  if (info.image_to_image || info.inpaint || info.references_max > 0) capabilities.push_back("image_edit");
  return {{"id", id},
          {"object", "model"},
          {"created", model.created},
          {"owned_by", "diffused"},
          {"root", model.name},
          {"capabilities", std::move(capabilities)},
          {"pipeline", info.class_name},
          {"dtype", info.dtype},
          {"device", info.device},
          {"engine", info.engine},
          {"turns", info.one_unit ? "picture" : "step"},
          {"parameters", info.parameters},
          {"default_size", fmt::format("{}x{}", info.default_width, info.default_height)},
          {"size_multiple", info.size_multiple},
          {"side_max", info.max_side},
          {"default_steps", info.default_steps},
          {"default_guidance_scale", info.default_guidance_scale},
          {"references_max", info.references_max},
          {"reference_needed", info.reference_needed},
          {"schedulers", json::array(info.schedulers.begin(), info.schedulers.end())},
          {"loras", json::array(info.loras.begin(), info.loras.end())},
          {"embeddings", json::array(info.embeddings.begin(), info.embeddings.end())},
          {"images_max", info.image_to_image ? 1 : 0},
          {"mask", info.inpaint},
          {"flow_shift", info.flow_shift},
          {"caches", json::array(info.caches.begin(), info.caches.end())},
          {"decoders", json::array(info.decoders.begin(), info.decoders.end())},
          {"true_cfg_scale", info.true_cfg_scale}};
}

// The largest values that requests may have, for programs that show a form.
json::object describe_limits(const RequestLimits& limits) {
  return {{"n", limits.n_max},
          {"num_inference_steps", limits.steps_max},
          {"side", limits.side_max},
          {"guidance_scale", limits.guidance_scale_max},
          {"prompt_characters", limits.prompt_characters_max},
          {"upload_bytes", limits.upload_bytes_max}};
}

// Calls `visit` with every name that the caller can ask for. Some clients only offer models whose id they
// know, which is what aliases are for, so each alias is listed as a model; the caller's own come first.
template <typename Visit>
void each_model(const Api& api, const http::Request& request, const Visit& visit) {
  const auto models = api.dispatcher.models();
  const auto answers_to = [](const ServedModel& model, const std::string& name) {
    return model.name == name || std::ranges::count(model.aliases, name) > 0;
  };
  std::map<std::string, std::string> own;
  if (api.options.keys) own = api.options.keys->aliases_of(user_of(request));
  for (const auto& [alias, name] : own) {
    const auto model =
        std::ranges::find_if(models, [&, &name = name](const auto& each) { return answers_to(each, name); });
    if (model != models.end()) visit(*model, alias);
  }
  for (const ServedModel& model : models) {
    if (!own.contains(model.name)) visit(model, model.name);
    for (const std::string& alias : model.aliases)
      if (!own.contains(alias)) visit(model, alias);
  }
}

}  // namespace

asio::awaitable<void> list_models(const Api& api, http::Exchange& exchange) {
  json::array data;
  each_model(api, exchange.request(), [&](const ServedModel& model, const std::string& id) {
    data.push_back(describe_model(model, id));
  });
  const json::object body{
      {"object", "list"}, {"data", std::move(data)}, {"limits", describe_limits(api.limits())}};
  co_await send_json(exchange, body);
}

asio::awaitable<void> show_model(const Api& api, http::Exchange& exchange) {
  const std::string& wanted = exchange.request().parameters.at("id");
  std::optional<json::object> found;
  each_model(api, exchange.request(), [&](const ServedModel& model, const std::string& id) {
    if (id == wanted && !found) found = describe_model(model, id);
  });
  if (found) co_return co_await send_json(exchange, *found);
  Error error{ErrorCode::not_found, fmt::format("the model \"{}\" is not served", wanted), "model",
              "model_not_found"};
  co_await send_error(exchange, std::move(error));
}

}  // namespace diffused::api
