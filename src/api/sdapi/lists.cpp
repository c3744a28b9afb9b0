#include <algorithm>
#include <array>
#include <boost/json/parse.hpp>
#include <map>
#include <string>

#include "api/endpoints.h"
#include "api/errors.h"
#include "api/fields.h"
#include "api/json_body.h"
#include "api/keys.h"
#include "api/openai/answer.h"
#include "api/openai/image_request.h"
#include "api/sdapi/board.h"
#include "api/sdapi/upscaling.h"
#include "async/offload.h"
#include "parameters/sampler_names.h"

namespace diffused::api {
namespace {

constexpr std::string_view kPrefix = "/sdapi/v1/";

// What this server has one of, or none, in the words of A1111's clients.
struct Constant {
  std::string_view method;
  std::string_view name;  // the path's last part
  std::string_view body;
};
constexpr std::array kConstants{
    Constant{"GET", "latent-upscale-modes", "[]"},
    Constant{"GET", "sd-vae", "[]"},
    Constant{"GET", "hypernetworks", "[]"},
    Constant{"GET", "face-restorers", "[]"},
    Constant{"GET", "realesrgan-models", "[]"},
    Constant{"GET", "scripts", R"({"txt2img": [], "img2img": []})"},
    Constant{"GET", "script-info", "[]"},
    Constant{"GET", "extensions", "[]"},
    Constant{"GET", "cmd-flags", "{}"},
    Constant{"GET", "memory", R"({"ram": {}, "cuda": {}})"},
    Constant{"POST", "unload-checkpoint", "{}"},
    Constant{"POST", "reload-checkpoint", "{}"},
    Constant{"POST", "refresh-checkpoints", "null"},
    Constant{"POST", "refresh-loras", "null"},
    Constant{"POST", "refresh-vae", "null"},
};

// What of A1111's many settings means anything here.
std::vector<Field> sd_option_fields(SdOptions& options) {
  return {text("sd_model_checkpoint", 256, "A served model's name.", into(options.checkpoint)),
          choice("samples_format", {"png", "jpg", "jpeg", "webp"}, "The pictures' file format.",
                 into(options.samples_format))};
}

bool is_served(const Api& api, const std::string& name) {
  const auto models = api.dispatcher.models();
  return find_named(models, name) != models.end();
}

}  // namespace

asio::awaitable<void> sd_constant(const Api&, http::Exchange& exchange) {
  const std::string name = exchange.request().path.substr(kPrefix.size());
  const auto* constant = std::ranges::find(kConstants, name, &Constant::name);
  const json::value body = json::parse(constant->body);
  co_await send_json(exchange, body);
}

asio::awaitable<void> sd_models(const Api& api, http::Exchange& exchange) {
  json::array models;
  for (const ServedModel& model : api.dispatcher.models()) {
    models.push_back(json::object{{"title", model.name},
                                  {"model_name", model.name},
                                  {"hash", nullptr},
                                  {"sha256", nullptr},
                                  {"filename", model.name},
                                  {"config", nullptr}});
  }
  co_await send_json(exchange, models);
}

asio::awaitable<void> sd_samplers(const Api& api, http::Exchange& exchange) {
  json::array samplers;
  for (const SamplerName& sampler : sampler_names()) {
    const auto has = [&](const ServedModel& model) {
      return std::ranges::count(model.info.schedulers, sampler.class_name) > 0;
    };
    const auto models = api.dispatcher.models();
    if (!std::ranges::any_of(models, has)) continue;
    samplers.push_back(json::object{{"name", sampler.label},
                                    {"aliases", json::array(sampler.aliases.begin(), sampler.aliases.end())},
                                    {"options", json::object()}});
  }
  co_await send_json(exchange, samplers);
}

asio::awaitable<void> sd_schedulers(const Api& api, http::Exchange& exchange) {
  json::array schedulers;
  const auto add = [&](std::string_view name, std::string_view label) {
    schedulers.push_back(json::object{{"name", name},
                                      {"label", label},
                                      {"aliases", nullptr},
                                      {"default_rho", -1},
                                      {"need_inner_model", false}});
  };
  add("automatic", "Automatic");
  const auto models = api.dispatcher.models();
  for (const SpacingName& spacing : spacing_names()) {
    const auto has = [&](const ServedModel& model) {
      return std::ranges::any_of(model.info.schedulers,
                                 [&](const auto& name) { return spacing_label(name) == spacing.label; });
    };
    if (std::ranges::any_of(models, has)) add(spacing.word, spacing.label);
  }
  co_await send_json(exchange, schedulers);
}

asio::awaitable<void> sd_upscalers(const Api& api, http::Exchange& exchange) {
  constexpr int kAnyScale = 4;  // as A1111 has it
  json::array upscalers;
  const auto add = [&](std::string_view name, int scale) {
    upscalers.push_back(json::object{{"name", name},
                                     {"model_name", nullptr},
                                     {"model_path", nullptr},
                                     {"model_url", nullptr},
                                     {"scale", scale}});
  };
  for (const char* name : {kNoUpscaler, kLanczos}) add(name, kAnyScale);
  for (const ServedModel& network : api.dispatcher.upscalers()) add(network.name, network.info.enlarges);
  co_await send_json(exchange, upscalers);
}

asio::awaitable<void> sd_styles(const Api& api, http::Exchange& exchange) {
  json::array styles;
  for (const SdStyle& style : api.options.sd_styles)
    styles.push_back(json::object{
        {"name", style.name}, {"prompt", style.prompt}, {"negative_prompt", style.negative_prompt}});
  co_await send_json(exchange, styles);
}

asio::awaitable<void> sd_loras(const Api& api, http::Exchange& exchange) {
  std::map<std::string, std::string> aliases;  // by name
  for (const ServedModel& model : api.dispatcher.models()) {
    for (const std::string& name : model.info.loras) aliases.emplace(name, name);
    for (const auto& [alias, name] : model.info.lora_aliases) aliases[name] = alias;
  }
  json::array loras;
  for (const auto& [name, alias] : aliases)
    loras.push_back(
        json::object{{"name", name}, {"alias", alias}, {"path", name}, {"metadata", json::object()}});
  co_await send_json(exchange, loras);
}

asio::awaitable<void> sd_embeddings(const Api& api, http::Exchange& exchange) {
  json::object loaded;
  for (const ServedModel& model : api.dispatcher.models()) {
    for (const std::string& name : model.info.embeddings) loaded[name] = json::object();
  }
  json::object answer;
  answer["loaded"] = std::move(loaded);
  answer["skipped"] = json::object();
  co_await send_json(exchange, answer);
}

asio::awaitable<void> sd_options(const Api& api, http::Exchange& exchange) {
  SdOptions chosen = api.sd_board->options(user_of(exchange.request()));
  if (chosen.checkpoint.empty())
    if (const auto model = choose_model(api, {})) chosen.checkpoint = model->name;
  const json::object options{
      {"sd_model_checkpoint", chosen.checkpoint},
      {"sd_checkpoint_hash", ""},
      {"sd_vae", "Automatic"},
      {"CLIP_stop_at_last_layers", 1},
      {"samples_format", chosen.samples_format.empty() ? "png" : chosen.samples_format}};
  co_await send_json(exchange, options);
}

asio::awaitable<void> sd_set_options(const Api& api, http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  const std::string& user = user_of(request);
  const auto body =
      co_await offload_large(request.body.size(), api.workers, user, [&] { return json_body(request); });
  if (!body) co_return co_await send_error(exchange, body.error());
  SdOptions options = api.sd_board->options(user);
  const auto read = read_fields(sd_option_fields(options), *body, Source::form);
  if (!read) co_return co_await send_error(exchange, read.error());
  const std::string meant = model_meant(api.options.keys.get(), user, options.checkpoint);
  if (!meant.empty() && !is_served(api, meant)) {
    Error error{
        ErrorCode::not_found, "there is no checkpoint " + options.checkpoint, "sd_model_checkpoint", {}};
    co_return co_await send_error(exchange, std::move(error));
  }
  api.sd_board->choose(user, std::move(options));
  const json::value done(nullptr);
  co_await send_json(exchange, done);
}

std::vector<std::pair<std::string, std::string>> sd_constants() {
  std::vector<std::pair<std::string, std::string>> routes;
  for (const Constant& constant : kConstants)
    routes.emplace_back(constant.method, std::string(kPrefix) + std::string(constant.name));
  return routes;
}

}  // namespace diffused::api
