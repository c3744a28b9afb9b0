#include "api/endpoints.h"
#include "api/json_body.h"
#include "api/openai/answer.h"
#include "api/openai/fingerprint.h"
#include "api/openai/uploads.h"
#include "async/offload.h"

namespace diffused::api {
namespace {

// JSON, or what a plain HTML form sends.
Result<UploadForm> read_generation_body(const http::Request& request) {
  if (is_content_type(request.header("content-type"), "multipart/form-data"))
    return read_upload_form(request, 0);
  TRY(json::object body, json_body(request));
  return UploadForm{.fields = std::move(body), .source = Source::json, .pictures = {}};
}

Result<ImageJob> parse_generation(const Api& api, const http::Request& http_request) {
  TRY(const UploadForm body, read_generation_body(http_request));
  ImageRequest request;
  const auto fields = generation_fields(api.limits(), request);
  if (api.limits().strict) TRY_VOID(refuse_unknown(fields, body.fields));
  TRY(request.spelling, read_fields(fields, body.fields, body.source));
  TRY(const ServedModel model, choose_model(api, named_model(api, http_request, request)));
  request.fingerprint = fingerprint_of(http_request);
  return complete(api, std::move(request), model);
}

}  // namespace

asio::awaitable<void> generate_images(const Api& api, http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  auto job = co_await offload_large(request.body.size(), api.workers, user_of(request),
                                    [&] { return parse_generation(api, request); });
  if (!job) co_return co_await send_error(exchange, job.error());
  co_await answer_images(api, exchange, *std::move(job), "image_generation");
}

}  // namespace diffused::api
