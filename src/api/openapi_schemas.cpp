#include "api/openapi_schemas.h"

#include <boost/json/parse.hpp>
#include <string_view>

namespace diffused::api {
namespace {

constexpr std::string_view kOpenAi = R"json({
  "Error": {
    "type": "object", "required": ["error"],
    "properties": {"error": {
      "type": "object", "required": ["message", "type", "param", "code"],
      "properties": {
        "message": {"type": "string", "description": "A sentence for a person."},
        "type": {"type": "string", "enum": ["invalid_request_error", "rate_limit_error", "server_error"]},
        "param": {"type": ["string", "null"], "description": "The field, as the request spelled it."},
        "code": {"type": ["string", "null"], "description": "A stable word for programs."}}}}
  },
  "Usage": {
    "type": "object", "required": ["input_tokens", "output_tokens", "total_tokens", "input_tokens_details"],
    "description": "Estimates: a token for four bytes of text, and for sixteen by sixteen pixels.",
    "properties": {
      "input_tokens": {"type": "integer", "minimum": 0},
      "output_tokens": {"type": "integer", "minimum": 0},
      "total_tokens": {"type": "integer", "minimum": 0},
      "input_tokens_details": {"$ref": "#/components/schemas/UsageDetails"},
      "output_tokens_details": {"$ref": "#/components/schemas/UsageDetails"}}
  },
  "UsageDetails": {
    "type": "object", "required": ["text_tokens", "image_tokens"],
    "properties": {"text_tokens": {"type": "integer", "minimum": 0}, "image_tokens": {"type": "integer", "minimum": 0}}
  },
  "ImagesResponse": {
    "type": "object",
    "required": ["created", "id", "model", "data", "size", "quality", "background", "output_format", "usage", "timings"],
    "properties": {
      "created": {"type": "integer", "description": "Unix seconds."},
      "id": {"type": "string", "description": "The request's id, also in x-request-id."},
      "model": {"type": "string", "description": "The model that was used."},
      "data": {"type": "array", "minItems": 1, "items": {
        "type": "object", "required": ["seed"],
        "properties": {
          "seed": {"type": "integer", "minimum": 0},
          "url": {"type": "string", "format": "uri", "description": "Works without a key until the picture expires."},
          "b64_json": {"type": "string", "contentEncoding": "base64"}},
        "oneOf": [{"required": ["url"]}, {"required": ["b64_json"]}]}},
      "size": {"$ref": "#/components/schemas/Size"},
      "quality": {"$ref": "#/components/schemas/Quality"},
      "background": {"const": "opaque"},
      "output_format": {"$ref": "#/components/schemas/OutputFormat"},
      "usage": {"$ref": "#/components/schemas/Usage"},
      "timings": {"type": "object", "description": "Seconds in each stage.", "additionalProperties": {"type": "number", "minimum": 0}},
      "safety_identifier": {"type": "string"}}
  },
  "Size": {"type": "string", "pattern": "^[0-9]+x[0-9]+$"},
  "Quality": {"type": "string", "enum": ["low", "medium", "high", "xhigh", "max"]},
  "OutputFormat": {"type": "string", "enum": ["png", "jpeg", "webp"]},
  "PartialImageEvent": {
    "type": "object",
    "required": ["type", "b64_json", "created_at", "size", "quality", "background", "output_format", "partial_image_index", "image_index"],
    "properties": {
      "type": {"type": "string", "enum": ["image_generation.partial_image", "image_edit.partial_image"]},
      "b64_json": {"type": "string", "contentEncoding": "base64"},
      "created_at": {"type": "integer"},
      "size": {"$ref": "#/components/schemas/Size"},
      "quality": {"$ref": "#/components/schemas/Quality"},
      "background": {"const": "opaque"},
      "output_format": {"$ref": "#/components/schemas/OutputFormat"},
      "partial_image_index": {"type": "integer", "minimum": 0, "maximum": 2},
      "image_index": {"type": "integer", "minimum": 0, "description": "Which of the n pictures."}}
  },
  "CompletedEvent": {
    "type": "object",
    "required": ["type", "b64_json", "created_at", "size", "quality", "background", "output_format", "usage", "seed", "image_index"],
    "properties": {
      "type": {"type": "string", "enum": ["image_generation.completed", "image_edit.completed"]},
      "b64_json": {"type": "string", "contentEncoding": "base64"},
      "created_at": {"type": "integer"},
      "size": {"$ref": "#/components/schemas/Size"},
      "quality": {"$ref": "#/components/schemas/Quality"},
      "background": {"const": "opaque"},
      "output_format": {"$ref": "#/components/schemas/OutputFormat"},
      "usage": {"$ref": "#/components/schemas/Usage"},
      "seed": {"type": "integer", "minimum": 0},
      "image_index": {"type": "integer", "minimum": 0},
      "safety_identifier": {"type": "string"}}
  },
  "ProgressEvent": {
    "type": "object", "required": ["type", "image_index", "step", "steps"],
    "properties": {
      "type": {"type": "string", "enum": ["image_generation.progress", "image_edit.progress"]},
      "image_index": {"type": "integer", "minimum": 0},
      "step": {"type": "integer", "minimum": 1},
      "steps": {"type": "integer", "minimum": 1}}
  },
  "ErrorEvent": {
    "type": "object", "required": ["type", "error"],
    "properties": {"type": {"const": "error"}, "error": {"$ref": "#/components/schemas/Error/properties/error"}}
  },
  "StreamEvent": {
    "description": "One server-sent event. Partial images come first, then one completed event for each picture, in their order, then the stream ends. Lines that begin with a colon are signs of life.",
    "type": "object", "required": ["event", "data"],
    "properties": {
      "event": {"type": "string", "description": "The type in the data."},
      "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": {"$ref": "#/components/schemas/StreamPayload"}}}
  },
  "StreamPayload": {
    "oneOf": [
      {"$ref": "#/components/schemas/PartialImageEvent"},
      {"$ref": "#/components/schemas/CompletedEvent"},
      {"$ref": "#/components/schemas/ProgressEvent"},
      {"$ref": "#/components/schemas/ErrorEvent"}]
  },
  "Model": {
    "type": "object", "required": ["id", "object", "created", "owned_by", "capabilities"],
    "properties": {
      "id": {"type": "string"},
      "object": {"const": "model"},
      "created": {"type": "integer"},
      "owned_by": {"type": "string"},
      "root": {"type": "string", "description": "The model's own name, when the id is an alias."},
      "capabilities": {"type": "array", "items": {"type": "string", "enum": ["image_generation", "image_edit"]}},
      "pipeline": {"type": "string"},
      "dtype": {"type": "string"},
      "device": {"type": "string"},
      "engine": {"type": "string", "enum": ["native", "diffusers"], "description": "diffusers: it runs in Diffusers itself, in a process of its own."},
      "turns": {"type": "string", "enum": ["step", "picture"], "description": "What it may be held after; picture: one is made in one go."},
      "parameters": {"type": "integer"},
      "default_size": {"$ref": "#/components/schemas/Size"},
      "size_multiple": {"type": "integer", "description": "Width and height must be multiples of it."},
      "side_max": {"type": "integer"},
      "default_steps": {"type": "integer"},
      "default_guidance_scale": {"type": "number"},
      "schedulers": {"type": "array", "items": {"type": "string"}, "description": "The default first."},
      "loras": {"type": "array", "items": {"type": "string"}, "description": "Names for the field loras."},
      "embeddings": {"type": "array", "items": {"type": "string"}, "description": "Words of prompts that textual inversions give a meaning."},
      "images_max": {"type": "integer", "minimum": 0, "description": "Pictures that an edit may start from."},
      "mask": {"type": "boolean", "description": "Whether an edit may have a mask."},
      "flow_shift": {"type": "boolean", "description": "Whether the field flow_shift is known."},
      "caches": {"type": "array", "items": {"type": "string"}, "description": "Modes of the field cache besides none."},
      "decoders": {"type": "array", "items": {"type": "string"}, "description": "Words of the field decoder besides full."},
      "true_cfg_scale": {"type": "boolean", "description": "Whether a negative prompt counts only with the field true_cfg_scale above 1."}}
  },
  "ModelList": {
    "type": "object", "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
      "limits": {"type": "object", "description": "The largest values that requests may have.", "additionalProperties": {"type": "number"}}}
  },
  "Status": {
    "type": "object",
    "required": ["object", "version", "time", "ready", "checks", "operator", "models", "weight_bytes", "memory_budget_bytes",
      "jobs_waiting", "jobs_running", "queued_seconds", "work", "failures"],
    "properties": {
      "object": {"const": "status"}, "version": {"type": "string"}, "time": {"type": "integer", "description": "Unix seconds."},
      "ready": {"type": "boolean"}, "checks": {"type": "object", "description": "As GET /health has them."},
      "operator": {"type": "boolean", "description": "Whether the caller sees everybody's work and may change models."},
      "models": {"type": "array", "items": {"$ref": "#/components/schemas/KeptModel"}},
      "weight_bytes": {"type": "integer", "description": "Of all models in memory, what they share once."},
      "memory_budget_bytes": {"type": "integer", "description": "0: none."},
      "jobs_waiting": {"type": "integer"}, "jobs_running": {"type": "integer"},
      "queued_seconds": {"type": "number", "description": "Estimated work at hand."},
      "work": {"type": "array", "items": {
        "type": "object", "required": ["id", "user", "model", "n", "state", "share_done", "seconds", "seconds_left", "waiting_before"],
        "properties": {
          "id": {"type": "string", "description": "Also in the header x-diffused-job of its answer."},
          "user": {"type": "string", "description": "The key's name, else an address."},
          "model": {"type": "string"}, "n": {"type": "integer"}, "state": {"type": "string", "enum": ["waiting", "running"]},
          "share_done": {"type": "number", "minimum": 0, "maximum": 1}, "seconds": {"type": "number", "description": "Since it came."},
          "seconds_left": {"type": "number", "description": "Estimated, of its own work."},
          "waiting_before": {"type": ["integer", "null"], "description": "Waiting jobs that came earlier."}}}},
      "failures": {"type": "array", "description": "The newest first.", "items": {"type": "object", "properties": {
        "time": {"type": "integer"}, "model": {"type": "string"}, "code": {"type": "string"}}}}}
  },
  "KeptModel": {
    "type": "object",
    "required": ["id", "state", "movable", "pinned", "weight_bytes", "idle_seconds", "jobs_waiting", "jobs_running", "pipeline", "device", "dtype"],
    "properties": {
      "id": {"type": "string"}, "state": {"type": "string", "enum": ["loaded", "loading", "unloaded", "leaving"]},
      "movable": {"type": "boolean", "description": "Whether it may be unloaded and loaded again."}, "pinned": {"type": "boolean"},
      "weight_bytes": {"type": "integer"}, "idle_seconds": {"type": "number"}, "jobs_waiting": {"type": "integer"},
      "jobs_running": {"type": "integer"}, "pipeline": {"type": "string"}, "device": {"type": "string"}, "dtype": {"type": "string"}}
  },
  "KeptModels": {
    "type": "object", "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": {"$ref": "#/components/schemas/KeptModel"}}}
  },
  "StatusHistory": {
    "type": "object", "required": ["object", "interval_seconds", "total_seconds", "queue_seconds", "activity"],
    "properties": {
      "object": {"const": "status.history"}, "interval_seconds": {"type": "integer"},
      "total_seconds": {"$ref": "#/components/schemas/Quantiles"}, "queue_seconds": {"$ref": "#/components/schemas/Quantiles"},
      "activity": {"type": "object", "description": "A list for each figure, the oldest interval first; the last is not over yet.",
        "additionalProperties": {"type": "array", "items": {"type": ["number", "null"]}}}}
  },
  "Quantiles": {
    "type": "object", "description": "Seconds; null while there is nothing to tell from.", "required": ["p50", "p95", "p99"],
    "properties": {"p50": {"type": ["number", "null"]}, "p95": {"type": ["number", "null"]}, "p99": {"type": ["number", "null"]}}
  },
  "ImageJob": {
    "type": "object", "required": ["id", "object", "model", "status", "progress", "queue_position", "attempts", "created_at", "started_at",
      "completed_at", "expires_at", "prompt", "n", "size", "seeds", "result", "error"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "image.job"}, "model": {"type": "string"},
      "status": {"type": "string", "enum": ["queued", "in_progress", "completed", "failed", "cancelled"]},
      "progress": {"type": "integer", "minimum": 0, "maximum": 100},
      "queue_position": {"type": ["integer", "null"], "description": "Jobs ahead, counted up to 1000."},
      "attempts": {"type": "integer"}, "created_at": {"type": "integer"}, "started_at": {"type": ["integer", "null"]},
      "completed_at": {"type": ["integer", "null"]}, "expires_at": {"type": ["integer", "null"]},
      "prompt": {"type": "string"}, "n": {"type": "integer"}, "size": {"type": "string"},
      "seeds": {"type": "array", "items": {"type": "integer"}},
      "result": {"type": ["object", "null"], "description": "What the synchronous answer would have been."},
      "error": {"anyOf": [{"type": "null"}, {"$ref": "#/components/schemas/Error/properties/error"}]}}
  },
  "JobEvent": {
    "description": "One server-sent event. Lines that begin with a colon are signs of life.",
    "type": "object", "required": ["event", "data"],
    "properties": {
      "event": {"type": "string", "description": "The type in the data."},
      "id": {"type": "string", "description": "For Last-Event-ID; the queue's position has none."},
      "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": {"$ref": "#/components/schemas/JobPayload"}}}
  },
  "JobPayload": {
    "oneOf": [
      {"type": "object", "required": ["type", "id", "queue_position"],
       "properties": {"type": {"const": "image.job.queued"}, "id": {"type": "string"}, "queue_position": {"type": "integer", "minimum": 0}}},
      {"type": "object", "required": ["type", "image_index", "step", "steps", "progress"],
       "properties": {"type": {"const": "image.job.step"}, "image_index": {"type": "integer", "minimum": 0},
                      "step": {"type": "integer", "minimum": 1}, "steps": {"type": "integer", "minimum": 1},
                      "progress": {"type": "integer", "minimum": 0, "maximum": 100}}},
      {"type": "object", "required": ["type", "image_index", "step", "b64_json"],
       "properties": {"type": {"const": "image.job.preview"}, "image_index": {"type": "integer", "minimum": 0},
                      "step": {"type": "integer", "minimum": 1}, "b64_json": {"type": "string", "contentEncoding": "base64"}}},
      {"type": "object", "required": ["type", "job"],
       "properties": {"type": {"const": "image.job.done"}, "job": {"$ref": "#/components/schemas/ImageJob"}}}]
  },
  "ImageJobList": {
    "type": "object", "required": ["object", "data", "has_more"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": {"$ref": "#/components/schemas/ImageJob"}},
                   "first_id": {"type": ["string", "null"]}, "last_id": {"type": ["string", "null"]}, "has_more": {"type": "boolean"}}
  },
  "ImageJobDeleted": {
    "type": "object", "required": ["id", "object", "deleted"],
    "properties": {"id": {"type": "string"}, "object": {"const": "image.job.deleted"}, "deleted": {"const": true}}
  },
  "Health": {
    "type": "object", "required": ["status"],
    "properties": {"status": {"type": "string", "enum": ["alive", "ready", "degraded", "unavailable"]}, "version": {"type": "string"}, "checks": {"type": "object"}}
  }
})json";

constexpr std::string_view kSdapi = R"json({
  "SdError": {
    "type": "object", "required": ["error", "detail", "body", "errors"],
    "properties": {"error": {"type": "string"}, "detail": {"type": "string"}, "body": {"type": "string"}, "errors": {"type": "string"}}
  },
  "SdPictures": {
    "type": "object", "required": ["images", "parameters", "info"],
    "properties": {
      "images": {"type": "array", "items": {"type": "string", "contentEncoding": "base64"}},
      "parameters": {"type": "object", "description": "The request without its pictures."},
      "info": {"type": "string", "contentMediaType": "application/json", "description": "An object as text: prompt, seed, all_seeds, infotexts, …"},
      "warnings": {"type": "array", "items": {"type": "string"}, "description": "What of the request is not as it was asked for; absent where all is."}}
  },
  "SdStyles": {
    "type": "array",
    "items": {"type": "object", "required": ["name", "prompt", "negative_prompt"], "properties": {"name": {"type": "string"}}}
  },
  "SdUpscalers": {
    "type": "array",
    "items": {"type": "object", "required": ["name", "model_name", "model_path", "model_url", "scale"], "properties": {"name": {"type": "string"}, "scale": {"type": "number"}}}
  },
  "SdExtra": {
    "type": "object", "required": ["html_info", "image"],
    "properties": {"html_info": {"type": "string"}, "image": {"type": "string", "contentEncoding": "base64"}}
  },
  "SdExtras": {
    "type": "object", "required": ["html_info", "images"],
    "properties": {"html_info": {"type": "string"}, "images": {"type": "array", "items": {"type": "string", "contentEncoding": "base64"}}}
  },
  "SdOptions": {
    "type": "object", "required": ["sd_model_checkpoint"],
    "properties": {"sd_model_checkpoint": {"type": "string"}, "sd_vae": {"type": "string"}, "samples_format": {"type": "string"},
                   "CLIP_stop_at_last_layers": {"type": "integer"}}
  },
  "SdProgress": {
    "type": "object", "required": ["progress", "eta_relative", "state", "current_image", "textinfo"],
    "properties": {
      "progress": {"type": "number", "minimum": 0, "maximum": 1},
      "eta_relative": {"type": "number"},
      "state": {"type": "object", "required": ["job_count", "job_no", "sampling_step", "sampling_steps", "interrupted", "skipped"]},
      "current_image": {"type": ["string", "null"], "contentEncoding": "base64"},
      "textinfo": {"type": ["string", "null"]}}
  },
  "SdModels": {
    "type": "array",
    "items": {"type": "object", "required": ["title", "model_name", "filename"], "properties": {"title": {"type": "string"}, "model_name": {"type": "string"}}}
  },
  "SdSamplers": {
    "type": "array",
    "items": {"type": "object", "required": ["name", "aliases", "options"], "properties": {"name": {"type": "string"}}}
  },
  "SdSchedulers": {
    "type": "array",
    "items": {"type": "object", "required": ["name", "label"], "properties": {"name": {"type": "string"}, "label": {"type": "string"}}}
  },
  "SdLoras": {
    "type": "array",
    "items": {"type": "object", "required": ["name", "alias", "path", "metadata"], "properties": {
      "name": {"type": "string"}, "alias": {"type": "string"}, "path": {"type": "string", "description": "The name again."}, "metadata": {"type": "object"}}}
  },
  "SdPngInfo": {
    "type": "object", "required": ["info", "items", "parameters"],
    "properties": {"info": {"type": "string"}, "items": {"type": "object"}, "parameters": {"type": "object"}}
  },
  "Null": {"type": "null"},
  "Object": {"type": "object"},
  "Anything": {}
})json";

}  // namespace

boost::json::object answer_schemas() {
  namespace json = boost::json;
  json::object schemas = json::parse({kOpenAi.data(), kOpenAi.size()}).as_object();
  const json::object more = json::parse({kSdapi.data(), kSdapi.size()}).as_object();
  schemas.insert(more.begin(), more.end());
  return schemas;
}

}  // namespace diffused::api
