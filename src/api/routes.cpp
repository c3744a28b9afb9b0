#include "api/routes.h"

#include "api/endpoints.h"
#include "api/keys.h"

namespace diffused::api {
namespace {

using Answer = asio::awaitable<void> (*)(const Api&, http::Exchange&);

http::Handler with(const Api& api, Answer endpoint) {
  return [&api, endpoint](http::Exchange& exchange) { return endpoint(api, exchange); };
}

// Where clients look for a path of OpenAI's, besides /v1: some leave that out, some have a word before it,
// and those of Azure put the model into it.
std::vector<std::string> openai_aliases(const std::string& path, bool of_a_model = false) {
  std::vector<std::string> aliases{path, "/openai/v1" + path, "/api/v1" + path, "/openai" + path};
  if (of_a_model) aliases.push_back("/openai/deployments/{deployment}" + path);
  return aliases;
}

// The gate belongs to the route that will run, so that no spelling of a path gets past it.
std::vector<Endpoint> openai_endpoints(const Api& api) {
  const http::Gate key = key_gate(api.options.keys, KeyScheme::bearer, api.clock);
  const std::size_t json_max = api.limits().json_bytes_max;
  const std::size_t upload_max = api.limits().upload_bytes_max;
  return {
      {{"POST", "/v1/images/generations", with(api, generate_images), json_max, key,
        openai_aliases("/images/generations", true)},
       "Make pictures from a prompt",
       BodyKind::generation,
       "ImagesResponse"},
      {{"POST", "/v1/images/edits", with(api, edit_image), upload_max, key,
        openai_aliases("/images/edits", true)},
       "Make pictures from a picture and a prompt; with a mask, only a part of it",
       BodyKind::edit,
       "ImagesResponse"},
      {{"POST", "/v1/images/variations", with(api, vary_image), upload_max, key,
        openai_aliases("/images/variations", true)},
       "Make pictures from a picture",
       BodyKind::variation,
       "ImagesResponse"},
      {{"GET", "/v1/models", with(api, list_models), 0, key, openai_aliases("/models")},
       "The models and their aliases",
       BodyKind::none,
       "ModelList"},
      {{"GET", "/v1/models/{id*}", with(api, show_model), 0, key, openai_aliases("/models/{id*}")},
       "One model",
       BodyKind::none,
       "Model"},
  };
}

std::vector<Endpoint> job_endpoints(const Api& api) {
  if (api.background == nullptr) return {};
  const http::Gate key = key_gate(api.options.keys, KeyScheme::bearer, api.clock);
  std::vector<Endpoint> endpoints{
      {{"GET", "/v1/images/jobs/{id}", with(api, show_job), 0, key},
       "One background job, with its pictures when it is completed",
       BodyKind::none,
       "ImageJob"},
      {{"GET", "/v1/images/jobs/{id}/events", with(api, watch_job), 0, key},
       "What happens to a background job, up to its end",
       BodyKind::none,
       "JobEvent"},
      {{"POST", "/v1/images/jobs/{id}/cancel", with(api, cancel_job), 1024, key},
       "Cancel a background job",
       BodyKind::ignored,
       "ImageJob"},
      {{"DELETE", "/v1/images/jobs/{id}", with(api, delete_job), 1024, key},
       "Forget a background job that has ended, and its pictures",
       BodyKind::none,
       "ImageJobDeleted"},
  };
  if (api.options.job_list)
    endpoints.insert(endpoints.begin(), {{"GET", "/v1/images/jobs", with(api, list_jobs), 0, key},
                                         "The caller's background jobs, by ?limit, ?order and ?after",
                                         BodyKind::none,
                                         "ImageJobList"});
  return endpoints;
}

std::vector<Endpoint> status_endpoints(const Api& api) {
  if (api.engine == nullptr) return {};
  const http::Gate key = key_gate(api.options.keys, KeyScheme::bearer, api.clock);
  return {
      {{"GET", "/v1/status", with(api, show_status), 0, key},
       "What the server is doing: models, the caller's own work (everybody's for an operator), last failures",
       BodyKind::none,
       "Status"},
      {{"GET", "/v1/status/history", with(api, show_history), 0, key},
       "The last hour in figures",
       BodyKind::none,
       "StatusHistory"},
      {{"POST", "/v1/models/{id}/{change}", with(api, change_model), 1024, key},
       "Load, unload, pin or unpin a model; for operators",
       BodyKind::ignored,
       "KeptModels"},
  };
}

// Open to all, as what comes next: whoever watches the machine has no key.
std::vector<Endpoint> probe_endpoints(const Api& api) {
  const http::Gate open = nullptr;
  return {
      {{"GET", "/livez", with(api, show_live), 0, open}, "The process answers", BodyKind::none, "Health"},
      {{"GET", "/readyz", with(api, show_health), 0, open, {"/health"}},
       "Requests can be served; 503 when not",
       BodyKind::none,
       "Health"},
  };
}

// The pages, and pictures, whose names cannot be guessed and which clients fetch without their key.
std::vector<Endpoint> open_endpoints(const Api& api) {
  const http::Gate open = nullptr;
  return {
      {{"GET", "/images/{file}", with(api, send_picture), 0, open, {"/v1/images/files/{file}"}},
       "A picture that an answer named by its URL",
       BodyKind::none,
       "image/*"},
      {{"GET", "/", with(api, show_index), 0, open},
       "A page to make pictures with",
       BodyKind::none,
       "text/html"},
      {{"GET", "/status", with(api, show_status_page), 0, open},
       "A page that shows what the server is doing",
       BodyKind::none,
       "text/html"},
      {{"GET", "/docs", with(api, show_docs), 0, open},
       "This description as a page",
       BodyKind::none,
       "text/html"},
      {{"GET", "/pages/{path*}", with(api, show_page_file), 0, open},
       "What these pages load",
       BodyKind::none,
       "text/*"},
      {{"GET", "/openapi.json", with(api, show_openapi), 0, open},
       "This description",
       BodyKind::none,
       "Object"},
  };
}

std::vector<Endpoint> sd_endpoints(const Api& api) {
  const http::Gate key = key_gate(api.options.keys, KeyScheme::basic, api.clock);
  const std::size_t json_max = api.limits().json_bytes_max;
  const std::size_t upload_max = api.limits().upload_bytes_max;
  return {
      {{"POST", "/sdapi/v1/txt2img", with(api, sd_text_to_image), json_max, key},
       "Make pictures from a prompt",
       BodyKind::sd_text,
       "SdPictures"},
      {{"POST", "/sdapi/v1/img2img", with(api, sd_image_to_image), upload_max, key},
       "Make pictures from a picture and a prompt",
       BodyKind::sd_image,
       "SdPictures"},
      {{"POST", "/sdapi/v1/png-info", with(api, sd_png_info), upload_max, key},
       "What a PNG, JPEG or WebP says of how it was made",
       BodyKind::sd_picture,
       "SdPngInfo"},
      {{"POST", "/sdapi/v1/extra-single-image", with(api, sd_extra_single), upload_max, key},
       "Make a picture larger",
       BodyKind::sd_extra,
       "SdExtra"},
      {{"POST", "/sdapi/v1/extra-batch-images", with(api, sd_extra_batch), upload_max, key},
       "Make pictures larger",
       BodyKind::sd_extras,
       "SdExtras"},
      {{"GET", "/sdapi/v1/options", with(api, sd_options), 0, key},
       "The chosen checkpoint",
       BodyKind::none,
       "SdOptions"},
      {{"POST", "/sdapi/v1/options", with(api, sd_set_options), json_max, key},
       "Choose a checkpoint for what follows",
       BodyKind::sd_options,
       "Null"},
      {{"GET", "/sdapi/v1/progress", with(api, sd_progress), 0, key},
       "How one's own oldest generation is getting on",
       BodyKind::none,
       "SdProgress"},
      {{"POST", "/sdapi/v1/skip", with(api, sd_skip), json_max, key},
       "Finish the batch that one's own oldest generation is at as it is, and go on with the next",
       BodyKind::ignored,
       "Object"},
      {{"POST", "/sdapi/v1/interrupt", with(api, sd_interrupt), json_max, key},
       "End one's own generations; they are answered with the pictures they have, the unfinished as they are",
       BodyKind::ignored,
       "Object"},
  };
}

// What there is to choose from.
std::vector<Endpoint> sd_list_endpoints(const Api& api) {
  const http::Gate key = key_gate(api.options.keys, KeyScheme::basic, api.clock);
  return {
      {{"GET", "/sdapi/v1/sd-models", with(api, sd_models), 0, key},
       "The models",
       BodyKind::none,
       "SdModels"},
      {{"GET", "/sdapi/v1/samplers", with(api, sd_samplers), 0, key},
       "The samplers",
       BodyKind::none,
       "SdSamplers"},
      {{"GET", "/sdapi/v1/schedulers", with(api, sd_schedulers), 0, key},
       "How a sampler's steps may be spaced",
       BodyKind::none,
       "SdSchedulers"},
      {{"GET", "/sdapi/v1/loras", with(api, sd_loras), 0, key},
       "The LoRAs, for <lora:NAME:WEIGHT> in a prompt",
       BodyKind::none,
       "SdLoras"},
      {{"GET", "/sdapi/v1/upscalers", with(api, sd_upscalers), 0, key},
       "What makes pictures larger: Lanczos, and the networks that the server was started with",
       BodyKind::none,
       "SdUpscalers"},
      {{"GET", "/sdapi/v1/prompt-styles", with(api, sd_styles), 0, key},
       "The styles that the server was started with",
       BodyKind::none,
       "SdStyles"},
      {{"GET", "/sdapi/v1/embeddings", with(api, sd_embeddings), 0, key},
       "The words of prompts that textual inversions give a meaning",
       BodyKind::none,
       "Object"},
  };
}

std::vector<Endpoint> sd_constant_endpoints(const Api& api) {
  const http::Gate key = key_gate(api.options.keys, KeyScheme::basic, api.clock);
  const std::size_t json_max = api.limits().json_bytes_max;
  std::vector<Endpoint> endpoints;
  for (const auto& [method, path] : sd_constants())
    endpoints.push_back({{method, path, with(api, sd_constant), json_max, key},
                         "For clients that ask: always the same",
                         method == "POST" ? BodyKind::ignored : BodyKind::none,
                         "Anything"});
  return endpoints;
}

}  // namespace

std::vector<Endpoint> make_endpoints(const Api& api) {
  std::vector<Endpoint> endpoints;
  const auto add = [&endpoints](std::vector<Endpoint> more) {
    std::move(more.begin(), more.end(), std::back_inserter(endpoints));
  };
  if (!api.options.probes_only) {
    add(openai_endpoints(api));
    add(job_endpoints(api));
    add(status_endpoints(api));
    add(open_endpoints(api));
    add(sd_endpoints(api));
    add(sd_list_endpoints(api));
    add(sd_constant_endpoints(api));
  }
  add(probe_endpoints(api));
  const http::Gate key = key_gate(api.options.keys, KeyScheme::bearer, api.clock);
  if (api.metrics)
    endpoints.push_back({{"GET", "/metrics", with(api, show_metrics), 0, key},
                         "Figures in Prometheus' text format",
                         BodyKind::none,
                         "text/plain"});
  return endpoints;
}

std::vector<http::Route> make_watch_routes(const Api& api) {
  std::vector<http::Route> routes{{"GET", "/metrics", with(api, show_metrics), 0}};
  for (Endpoint& endpoint : probe_endpoints(api)) routes.push_back(std::move(endpoint.route));
  return routes;
}

std::vector<http::Route> make_routes(const Api& api) {
  std::vector<http::Route> routes;
  for (Endpoint& endpoint : make_endpoints(api)) routes.push_back(std::move(endpoint.route));
  return routes;
}

}  // namespace diffused::api
