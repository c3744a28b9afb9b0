#include <fmt/format.h>

#include "api/endpoints.h"
#include "api/openai/answer.h"

namespace diffused::api {
namespace {

json::object describe_model(const ServedModel& model, const std::string& id) {
  const PipelineInfo& info = model.info;
  json::array capabilities{"image_generation"};
  if (info.image_to_image || info.inpaint) capabilities.push_back("image_edit");
  return {{"id", id},
          {"object", "model"},
          {"created", model.created},
          {"owned_by", "diffused"},
          {"root", model.name},
          {"capabilities", std::move(capabilities)},
          {"pipeline", info.class_name},
          {"dtype", info.dtype},
          {"device", info.device},
          {"parameters", info.parameters},
          {"default_size", fmt::format("{}x{}", info.default_width, info.default_height)},
          {"size_multiple", info.size_multiple},
          {"side_max", info.max_side},
          {"default_steps", info.default_steps},
          {"default_guidance_scale", info.default_guidance_scale},
          {"schedulers", json::array(info.schedulers.begin(), info.schedulers.end())},
          {"loras", json::array(info.loras.begin(), info.loras.end())},
          {"images_max", info.image_to_image ? 1 : 0},
          {"mask", info.inpaint},
          {"flow_shift", info.flow_shift}};
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

// Calls `visit` with every name that can be asked for. Some clients only offer models whose id they know,
// which is what aliases are for, so each alias is listed as a model.
template <typename Visit>
void each_model(const Api& api, const Visit& visit) {
  for (const ServedModel& model : api.dispatcher.models()) {
    visit(model, model.name);
    for (const std::string& alias : model.aliases) visit(model, alias);
  }
}

}  // namespace

asio::awaitable<void> list_models(const Api& api, http::Exchange& exchange) {
  json::array data;
  each_model(api, [&](const ServedModel& model, const std::string& id) {
    data.push_back(describe_model(model, id));
  });
  const json::object body{
      {"object", "list"}, {"data", std::move(data)}, {"limits", describe_limits(api.options.limits)}};
  co_await send_json(exchange, body);
}

asio::awaitable<void> show_model(const Api& api, http::Exchange& exchange) {
  const std::string& wanted = exchange.request().parameters.at("id");
  std::optional<json::object> found;
  each_model(api, [&](const ServedModel& model, const std::string& id) {
    if (id == wanted && !found) found = describe_model(model, id);
  });
  if (found) co_return co_await send_json(exchange, *found);
  Error error{ErrorCode::not_found, fmt::format("the model \"{}\" is not served", wanted), "model",
              "model_not_found"};
  co_await send_error(exchange, std::move(error));
}

}  // namespace diffused::api
