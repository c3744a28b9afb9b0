#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>

#include "api/endpoints.h"
#include "api/errors.h"
#include "api/openai/image_request.h"
#include "api/openapi_schemas.h"
#include "api/routes.h"
#include "api/sdapi/extras.h"
#include "api/sdapi/sd_request.h"
#include "async/offload.h"
#include "parameters/request_fields.h"

namespace diffused::api {
namespace {

json::object reference(std::string_view schema) {
  return {{"$ref", fmt::format("#/components/schemas/{}", schema)}};
}

json::object content(std::string_view type, json::object schema) {
  return {{json::string_view(type.data(), type.size()), json::object{{"schema", std::move(schema)}}}};
}

// Adds the members of a schema that no table has: pictures.
json::object with_pictures(json::object schema, std::string_view members) {
  const json::object more = json::parse({members.data(), members.size()}).as_object();
  json::object& properties = schema["properties"].as_object();
  properties.insert(more.begin(), more.end());
  return schema;
}

constexpr std::string_view kFormPictures = R"json({
  "image": {"description": "The picture, or for models that go by pictures several. image[] and image[0] are the same.", "anyOf": [
    {"type": "string", "contentMediaType": "application/octet-stream"},
    {"type": "array", "maxItems": 16, "items": {"type": "string", "contentMediaType": "application/octet-stream"}}]}
})json";

constexpr std::string_view kJsonPictures = R"json({
  "images": {"description": "The picture, or for models that go by pictures several: a data URL, base64, or an object that holds one. No URL is fetched.",
             "type": ["array", "null"], "maxItems": 16, "items": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {
    "image_url": {"type": ["string", "object", "null"]}, "b64_json": {"type": ["string", "null"]}, "base64": {"type": ["string", "null"]}}}]}},
  "image": {"description": "Another name for images; one or a list."}
})json";

// Adds the pictures of the list that are sent by themselves.
json::object with_other_pictures(json::object schema, json::object type) {
  each_picture(GenerateRequest(), [&](const PictureInfo& input, const auto&) {
    if (input.part == "image") return;
    type["description"] = input.about;
    schema["properties"].as_object()[{input.part.data(), input.part.size()}] = type;
  });
  return schema;
}

constexpr std::string_view kSdPictures = R"json({
  "init_images": {"description": "The picture: base64 or a data URL. Several: each for one picture of a batch.", "type": "array", "minItems": 1, "items": {"type": "string"}},
  "mask": {"description": "White is repainted.", "type": ["string", "null"]}
})json";

constexpr std::string_view kExtraPicture =
    R"json({"image": {"description": "Base64 or a data URL.", "type": "string"}})json";

constexpr std::string_view kExtraPictures = R"json({
  "imageList": {"type": "array", "minItems": 1, "maxItems": 64, "items": {"type": "object", "required": ["data"], "properties": {
    "data": {"type": "string", "description": "Base64 or a data URL."}, "name": {"type": "string"}}}}
})json";

json::object extra_content(const RequestLimits& limits, std::string_view pictures, const char* required) {
  ExtrasRequest request;
  json::object schema = with_pictures(schema_of(extras_fields(limits, request), Source::form), pictures);
  schema["required"] = json::array{required};
  return content("application/json", std::move(schema));
}

json::object generation_content(const RequestLimits& limits) {
  ImageRequest request;
  const json::object schema = schema_of(generation_fields(limits, request));
  json::object content_of_generations = content("application/json", schema);
  const json::object as_form = content("multipart/form-data", schema);
  content_of_generations.insert(as_form.begin(), as_form.end());
  return content_of_generations;
}

json::object edit_content(const RequestLimits& limits, bool prompt_required) {
  ImageRequest request;
  json::object schema = schema_of(edit_fields(limits, request));
  if (!prompt_required) schema.erase("required");
  const json::object file{{"type", "string"}, {"contentMediaType", "application/octet-stream"}};
  json::object content_of_edits =
      content("multipart/form-data", with_other_pictures(with_pictures(schema, kFormPictures), file));
  const json::object as_json =
      content("application/json", with_other_pictures(with_pictures(schema, kJsonPictures), {}));
  content_of_edits.insert(as_json.begin(), as_json.end());
  return content_of_edits;
}

// The bodies that an endpoint reads, by media type.
json::object body_content(BodyKind kind, const RequestLimits& limits) {
  SdRequest sd_request;
  switch (kind) {
    case BodyKind::generation:
      return generation_content(limits);
    case BodyKind::edit:
      return edit_content(limits, true);
    case BodyKind::variation:
      return edit_content(limits, false);
    case BodyKind::sd_text:
      return content("application/json", schema_of(sd_text_fields(limits, sd_request), Source::form));
    case BodyKind::sd_image: {
      json::object schema =
          with_pictures(schema_of(sd_image_fields(limits, sd_request), Source::form), kSdPictures);
      schema["required"] = json::array{"init_images"};
      return content("application/json", std::move(schema));
    }
    case BodyKind::sd_picture:
      return content("application/json", json::parse(R"({"type": "object", "required": ["image"],
          "properties": {"image": {"type": "string", "description": "Base64 or a data URL."}}})")
                                             .as_object());
    case BodyKind::sd_extra:
      return extra_content(limits, kExtraPicture, "image");
    case BodyKind::sd_extras:
      return extra_content(limits, kExtraPictures, "imageList");
    case BodyKind::sd_options:
      return content(
          "application/json",
          json::parse(R"({"type": "object", "properties": {"sd_model_checkpoint": {"type": "string",
          "description": "A served model's name."}, "samples_format": {"enum": ["png", "jpg", "jpeg", "webp", null]}}})")
              .as_object());
    case BodyKind::ignored:
      return content("application/json", {});
    case BodyKind::none:
      break;
  }
  return {};
}

bool is_stream(BodyKind kind) {
  return kind == BodyKind::generation || kind == BodyKind::edit || kind == BodyKind::variation;
}

json::object good_answer(const Endpoint& endpoint, bool background) {
  const bool media_type = endpoint.answer.find('/') != std::string_view::npos;
  const bool stream = endpoint.answer == "JobEvent";
  json::object answer =
      media_type ? content(endpoint.answer, json::object{{"type", "string"}})
                 : content(stream ? "text/event-stream" : "application/json", reference(endpoint.answer));
  if (is_stream(endpoint.body)) {
    // A job that is asked for twice under the same Idempotency-Key is the answer the second time.
    if (background)
      answer =
          content("application/json",
                  json::object{{"anyOf", json::array{reference(endpoint.answer), reference("ImageJob")}}});
    const json::object stream_content = content("text/event-stream", reference("StreamEvent"));
    answer.insert(stream_content.begin(), stream_content.end());
    const json::object raw = content("image/*", json::object{{"type", "string"}});
    answer.insert(raw.begin(), raw.end());
  }
  return {{"description", "Done."}, {"content", std::move(answer)}};
}

json::object accepted_answer() {
  return {
      {"description", "The job, which goes on by itself; it was asked for with background_job or Prefer."},
      {"headers",
       json::parse(R"({"Location": {"description": "Where the job is.", "schema": {"type": "string"}},
            "Preference-Applied": {"description": "respond-async, where Prefer asked for it.", "schema": {"type": "string"}}})")},
      {"content", content("application/json", reference("ImageJob"))}};
}

// The statuses that a client has to expect, from the table of errors.
json::object answers_of(const Endpoint& endpoint, bool background) {
  const std::string& path = endpoint.route.pattern;
  const bool reads = endpoint.body != BodyKind::none;
  const json::object error =
      content("application/json", reference(path.starts_with("/sdapi/") ? "SdError" : "Error"));
  json::object answers{{"200", good_answer(endpoint, background)}};
  if (background && is_stream(endpoint.body)) answers["202"] = accepted_answer();
  if (endpoint.answer == "JobEvent")
    answers["204"] = json::object{{"description", "Nothing comes any more: stay away."}};
  for (const ErrorStatus& row : error_statuses()) {
    const bool finds = reads || path.find('{') != std::string::npos;
    const bool possible = row.status == 401   ? endpoint.route.gate != nullptr
                          : row.status == 404 ? finds
                                              : reads || row.status == 403 || row.status == 500;
    if (!possible) continue;
    answers[std::to_string(row.status)] = json::object{{"description", row.codes}, {"content", error}};
  }
  if (path == "/readyz")
    answers["503"] = json::object{{"description", "Not ready."},
                                  {"content", content("application/json", reference("Health"))}};
  answers["default"] = json::object{{"description", "Any other error."}, {"content", error}};
  return answers;
}

// "/v1/models/{id*}" → "/v1/models/{id}", and its parameters.
std::string path_of(std::string_view pattern, json::array& parameters) {
  std::string path;
  for (const char c : pattern)
    if (c != '*') path += c;
  for (std::size_t open = path.find('{'); open != std::string::npos; open = path.find('{', open + 1)) {
    const std::string name = path.substr(open + 1, path.find('}', open) - open - 1);
    parameters.push_back(json::object{
        {"name", name}, {"in", "path"}, {"required", true}, {"schema", json::object{{"type", "string"}}}});
  }
  return path;
}

void add_parameter(json::array& parameters, std::string_view place, std::string_view name,
                   std::string_view description, std::string_view schema) {
  parameters.push_back(json::object{{"name", name},
                                    {"in", place},
                                    {"description", description},
                                    {"schema", json::parse({schema.data(), schema.size()})}});
}

// What an endpoint reads beside its path and its body.
void add_parameters(const Endpoint& endpoint, bool background, json::array& parameters) {
  if (is_stream(endpoint.body) || endpoint.answer == "SdPictures")
    add_parameter(parameters, "header", "X-Request-Timeout", "Seconds after which the request fails.",
                  R"({"type": "number", "exclusiveMinimum": 0})");
  if (is_stream(endpoint.body))
    add_parameter(parameters, "header", "Accept",
                  "image/png, image/jpeg or image/webp: the picture itself, of n = 1.",
                  R"({"type": "string"})");
  if (is_stream(endpoint.body) && background) {
    add_parameter(parameters, "header", "Prefer", "respond-async: answer at once with a job.",
                  R"({"type": "string"})");
    add_parameter(parameters, "header", "Idempotency-Key",
                  "Of a job: asked for again under the same key, it is the same job.",
                  R"({"type": "string", "pattern": "^[!-~]{1,255}$"})");
  }
  if (endpoint.answer == "SdProgress")
    add_parameter(parameters, "query", "skip_current_image", "Leaves out the preview.",
                  R"({"type": "boolean"})");
  if (endpoint.answer == "ImageJobList") {
    add_parameter(parameters, "query", "limit", "How many.",
                  R"({"type": "integer", "minimum": 1, "maximum": 100})");
    add_parameter(parameters, "query", "order", "By age; the newest first where there is none.",
                  R"({"type": "string", "enum": ["asc", "desc"]})");
    add_parameter(parameters, "query", "after", "The id of the last job of the page before.",
                  R"({"type": "string"})");
  }
  if (endpoint.answer == "JobEvent")
    add_parameter(parameters, "header", "Last-Event-ID",
                  "The last event that was seen: what came after follows.", R"({"type": "string"})");
}

json::object operation_of(const Endpoint& endpoint, json::array parameters, const Api& api) {
  const http::Route& route = endpoint.route;
  const RequestLimits& limits = api.limits();
  const bool background = api.background != nullptr;
  std::string description;
  for (const std::string& alias : route.aliases) description += fmt::format("Also at `{}`. ", alias);
  add_parameters(endpoint, background, parameters);
  json::object operation{{"summary", endpoint.summary}, {"responses", answers_of(endpoint, background)}};
  if (endpoint.body != BodyKind::none) {
    description += fmt::format("The body may have {} bytes.", route.body_bytes_max);
    operation["requestBody"] = json::object{{"required", endpoint.body != BodyKind::ignored},
                                            {"content", body_content(endpoint.body, limits)}};
  }
  if (!description.empty()) operation["description"] = description;
  if (!parameters.empty()) operation["parameters"] = std::move(parameters);
  if (route.gate) {
    json::array security{json::object{{"bearer", json::array()}}, json::object{{"header", json::array()}}};
    if (route.pattern.starts_with("/sdapi/")) security.push_back(json::object{{"basic", json::array()}});
    operation["security"] = std::move(security);
  }
  return operation;
}

std::string general_description(const RequestLimits& limits) {
  return fmt::format(
      "Unknown fields are ignored and null means absent. Extra fields may also stand in extra_body, "
      "extra_params or "
      "parameters. n x width x height x num_inference_steps may be {:.0f} at most; a model has limits of its "
      "own, "
      "which /v1/models tells. An uploaded picture may have {} pixels, and {} on a side. A request waits in "
      "a queue; "
      "when that is full, 429 says when to come back. When the client goes away, its work ends.",
      limits.pixel_steps_max, limits.upload.pixels_max, limits.upload.side_max);
}

}  // namespace

json::object describe_api(const Api& api) {
  json::object paths;
  for (const Endpoint& endpoint : make_endpoints(api)) {
    json::array parameters;
    const std::string path = path_of(endpoint.route.pattern, parameters);
    std::string method = endpoint.route.method;
    std::ranges::transform(method, method.begin(), [](unsigned char c) { return std::tolower(c); });
    json::value& item = paths[path];
    if (!item.is_object()) item.emplace_object();
    item.get_object()[method] = operation_of(endpoint, std::move(parameters), api);
  }
  const std::string& url = api.options.public_url;
  return {{"openapi", "3.1.0"},
          {"info", json::object{{"title", "diffused"},
                                {"version", api.options.version},
                                {"description", general_description(api.limits())}}},
          {"servers", json::array{json::object{{"url", url.empty() ? "/" : url}}}},
          {"paths", std::move(paths)},
          {"components",
           json::object{{"schemas", answer_schemas()},
                        {"securitySchemes", json::parse(R"({"bearer": {"type": "http", "scheme": "bearer"},
                           "basic": {"type": "http", "scheme": "basic"},
                           "header": {"type": "apiKey", "in": "header", "name": "api-key"}})")}}}};
}

asio::awaitable<void> show_openapi(const Api& api, http::Exchange& exchange) {
  const json::value description = co_await offload(api.workers, user_of(exchange.request()),
                                                   [&] { return json::value(describe_api(api)); });
  co_await send_large_json(api, exchange, description);
}

}  // namespace diffused::api
