// The endpoints: each answers one exchange. They are told of nothing but the Api; routes.cpp says where they
// live.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "api/api.h"
#include "http/exchange.h"

namespace diffused::api {

// POST /v1/images/generations: pictures from a prompt (openai/generations.cpp).
asio::awaitable<void> generate_images(const Api& api, http::Exchange& exchange);

// POST /v1/images/edits: a picture from a picture, a prompt and perhaps a mask. POST /v1/images/variations:
// the same without a prompt (openai/edits.cpp).
asio::awaitable<void> edit_image(const Api& api, http::Exchange& exchange);
asio::awaitable<void> vary_image(const Api& api, http::Exchange& exchange);

// GET /v1/images/jobs, /v1/images/jobs/{id}, POST …/cancel, DELETE: jobs that go on by themselves
// (openai/jobs.cpp). GET …/events: what happens to one (openai/job_events.cpp). Precondition:
// Api::background.
asio::awaitable<void> list_jobs(const Api& api, http::Exchange& exchange);
asio::awaitable<void> show_job(const Api& api, http::Exchange& exchange);
asio::awaitable<void> cancel_job(const Api& api, http::Exchange& exchange);
asio::awaitable<void> delete_job(const Api& api, http::Exchange& exchange);
asio::awaitable<void> watch_job(const Api& api, http::Exchange& exchange);

// GET /v1/models and /v1/models/{id*} (openai/models.cpp).
asio::awaitable<void> list_models(const Api& api, http::Exchange& exchange);
asio::awaitable<void> show_model(const Api& api, http::Exchange& exchange);

// AUTOMATIC1111's dialect, /sdapi/v1/…: POST txt2img and img2img (sdapi/generate.cpp), GET and POST options,
// GET sd-models, samplers, schedulers, loras, upscalers, prompt-styles, and what this server has none of
// (sdapi/lists.cpp), GET progress, POST interrupt and skip (sdapi/progress.cpp), POST png-info
// (sdapi/png_info.cpp), POST extra-single-image and extra-batch-images (sdapi/extras.cpp).
asio::awaitable<void> sd_text_to_image(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_image_to_image(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_options(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_set_options(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_models(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_samplers(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_schedulers(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_upscalers(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_styles(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_loras(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_embeddings(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_constant(const Api& api, http::Exchange& exchange);
std::vector<std::pair<std::string, std::string>> sd_constants();  // methods and paths that it answers
asio::awaitable<void> sd_progress(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_skip(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_interrupt(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_extra_single(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_extra_batch(const Api& api, http::Exchange& exchange);
asio::awaitable<void> sd_png_info(const Api& api, http::Exchange& exchange);

// GET /images/{file}: a stored picture (picture_file.cpp). Its name cannot be guessed, so it needs no key.
asio::awaitable<void> send_picture(const Api& api, http::Exchange& exchange);

// GET /livez: the process answers. GET /health, /readyz: requests can be served; 503 when not (health.cpp).
asio::awaitable<void> show_live(const Api& api, http::Exchange& exchange);
asio::awaitable<void> show_health(const Api& api, http::Exchange& exchange);
// GET /metrics in Prometheus' text format.
asio::awaitable<void> show_metrics(const Api& api, http::Exchange& exchange);

// GET /v1/status and /v1/status/history, POST /v1/models/{id}/{change}: what the server is doing, and an
// operator's say in which models it keeps (status.cpp). Precondition: Api::engine.
asio::awaitable<void> show_status(const Api& api, http::Exchange& exchange);
asio::awaitable<void> show_history(const Api& api, http::Exchange& exchange);
asio::awaitable<void> change_model(const Api& api, http::Exchange& exchange);

// The pages for people: GET / to make pictures, GET /status, GET /docs, and GET /pages/{path*}, the files
// that they load (pages/pages.cpp). They use nothing but the endpoints that programs use.
asio::awaitable<void> show_index(const Api& api, http::Exchange& exchange);
asio::awaitable<void> show_status_page(const Api& api, http::Exchange& exchange);
asio::awaitable<void> show_docs(const Api& api, http::Exchange& exchange);
asio::awaitable<void> show_page_file(const Api& api, http::Exchange& exchange);

// GET /openapi.json: what all of these take and give, made from the route and field tables (openapi.cpp).
asio::awaitable<void> show_openapi(const Api& api, http::Exchange& exchange);
json::object describe_api(const Api& api);

// The value as an answer's body, written off the io threads: with pictures in it it has megabytes.
asio::awaitable<std::shared_ptr<const std::string>> body_of(const Api& api, const http::Request& request,
                                                            const json::value& value);

asio::awaitable<void> send_large_json(const Api& api, http::Exchange& exchange, const json::value& body);

// Sends a JSON value, which is small.
asio::awaitable<void> send_json(http::Exchange& exchange, const json::value& body, int status = 200);

}  // namespace diffused::api
