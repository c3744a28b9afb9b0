#include "app/serve_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "app/reload.h"
#include "app/version.h"
#include "base/files.h"
#include "base/log.h"
#include "base/utf8.h"
#include "http/policy.h"

namespace diffused::app {
namespace {

void add_thread_options(CLI::App& command, ServeOptions& options) {
  command.add_option("--io-threads", options.server.io_threads)
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command
      .add_option("--worker-threads", options.server.worker_threads, "threads that encode and store pictures")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
}

// What may wait, and for how long.
void add_queue_options(CLI::App& command, ServeOptions& options) {
  command
      .add_option("--inputs-per-user-bytes-max", options.server.background.inputs_of_user_bytes_max,
                  "bytes of pictures that one key's waiting background jobs may start from")
      ->capture_default_str();
  command
      .add_option(
          "--jobs-bytes-max", options.server.jobs.bytes_max,
          "bytes of jobs kept in --data-dir; beyond it ended ones leave early, those of who keeps most "
          "of them first; 0: no limit")
      ->capture_default_str();
  command
      .add_option("--background-queued-per-model-max", options.server.jobs.pool_queued_max,
                  "background jobs of one model that may wait; 0: as many as of all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--queued-lifetime", options.queued_seconds,
                  "seconds after which a background job that nobody has begun fails; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

void add_limit_options(CLI::App& command, ServeOptions& options) {
  api::RequestLimits& limits = options.server.api.limits;
  command.add_option("--n-max", limits.n_max, "pictures in one request")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command.add_option("--steps-max", limits.steps_max)->check(CLI::Range(1, 1000))->capture_default_str();
  command.add_flag("--strict", limits.strict, "refuse fields and words that would be ignored");
  command.add_option("--side-max", limits.side_max, "pixels; a model's own limit may be lower")
      ->check(CLI::Range(1, 65'536))
      ->capture_default_str();
  command
      .add_option("--memory-max", options.server.memory_bytes_max,
                  "memory that requests may hold at one time, from their bodies to their answers, beside the "
                  "models; one user alone half of it")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->check(CLI::PositiveNumber)
      ->default_str("768MiB");
  command
      .add_option("--background-queued-max", options.server.background.jobs_queued_max,
                  "background jobs that may wait")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--background-queued-per-user-max", options.jobs_of_user_max,
                  "background jobs of one key (without keys: of one address) that may wait; 0: as many as of "
                  "all (default: a quarter of them)")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option(
          "--job-list", options.job_list,
          "whether GET /v1/images/jobs lists the caller's jobs; without keys those of an address, which "
          "strangers may share, as behind a proxy. auto: with keys, or where only this machine can reach "
          "the server")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
  command.add_flag("--plain-pictures", options.plain_pictures,
                   "leave prompts and settings out of the pictures' files");
  command
      .add_option("--job-lifetime", options.job_seconds,
                  "seconds that an ended background job, its pictures and its Idempotency-Key are kept")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--request-timeout", options.request_seconds, "seconds until a request fails")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      .add_option(
          "--early-head", options.early_head_seconds,
          "seconds after which a long answer's head is sent, for clients that wait no longer; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--drain-delay", options.drain_delay_seconds,
                  "seconds that the server goes on after SIGTERM while /readyz says 503: longer than a load "
                  "balancer takes to notice")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  command
      .add_option("--drain-timeout", options.drain_seconds, "seconds that running pictures get at shutdown")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

// For many servers that work on the same jobs.
void add_store_options(CLI::App& command, ServeOptions& options) {
  command
      .add_option("--store", options.server.store,
                  "where background jobs are kept that many servers share: postgresql://user@host/name")
      ->envname("DIFFUSED_STORE");
  command.add_flag(
      "--require-sync", options.server.require_sync,
      "refuse a --store whose commits do not wait for a standby, so that no failover loses a job");
  command
      .add_option(
          "--role", options.role,
          "worker: make the jobs of --store, and answer nothing but /health and /metrics; gateway: take "
          "requests without having a model, and have them made by the others on --store")
      ->check(CLI::IsMember({"all", "worker", "gateway"}))
      ->capture_default_str();
  command.add_option(
      "--blobs", options.server.blobs,
      "where all servers of one --store keep their pictures: a folder that all of them see, or "
      "s3://bucket/prefix with the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in the file that "
      "AWS_SHARED_CREDENTIALS_FILE names");
  command.add_option("--blobs-endpoint", options.server.blobs_endpoint,
                     "the S3-compatible store that has the bucket, such as https://minio:9000 (default: "
                     "AWS_ENDPOINT_URL, else Amazon's in AWS_REGION)");
  command
      .add_option("--free-bytes-min", options.server.free_bytes_min,
                  "bytes that stay free where pictures are kept")
      ->capture_default_str();
  command
      .add_option("--job-lease", options.lease_seconds,
                  "seconds of silence after which a server's background jobs go to another")
      ->check(CLI::Range(0.5, 3600.0))
      ->capture_default_str();
  command
      .add_option("--job-attempts", options.server.jobs.attempts_max,
                  "servers that may die under a background job before it fails")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
}

}  // namespace

void add_serve_options(CLI::App& command, ServeOptions& options) {
  options.server.data_dir = default_data_dir();
  options.server.jobs.bytes_max = 1ull << 30;
  add_completion_options(command, options.completion);
  add_access_options(command, options.access, options.server);
  add_thread_options(command, options);
  add_limit_options(command, options);
  add_queue_options(command, options);
  command.add_option("--data-dir", options.server.data_dir, "where pictures are kept until they expire")
      ->capture_default_str();
  command
      .add_option("--pages", options.server.api.pages_dir,
                  "a folder whose files go before the pages in the program, for who edits them")
      ->check(CLI::ExistingDirectory);
  command.add_option("--image-lifetime", options.image_seconds, "seconds that a picture's URL works")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--images-bytes-max", options.server.images_bytes_max, "bytes of pictures kept")
      ->capture_default_str();
  add_store_options(command, options);
  command
      .add_option("--b64-model-prefix", options.server.api.b64_model_prefixes,
                  "models asked for by names that begin like this answer with bytes by default")
      ->capture_default_str();
  using Format = api::DefaultResponseFormat;
  command.add_option("--default-response-format", options.server.api.default_response_format)
      ->transform(CLI::CheckedTransformer(std::map<std::string, Format>{
          {"auto", Format::automatic}, {"url", Format::url}, {"b64_json", Format::b64_json}}));
  command
      .add_option("--sdapi-prompt-syntax", options.server.api.sd_prompt_syntax,
                  "how prompts of /sdapi are read that do not say it; a1111: with weights, and of any length")
      ->check(CLI::IsMember({"diffusers", "a1111"}));
  command.add_option("--styles", options.styles_file,
                     "a styles.csv as A1111 writes it, whose styles requests of /sdapi may name");
  using Unknown = api::UnknownModel;
  command.add_option("--unknown-model", options.server.api.unknown_model)
      ->transform(CLI::CheckedTransformer(std::map<std::string, Unknown>{{"auto", Unknown::automatic},
                                                                         {"openai", Unknown::openai},
                                                                         {"default", Unknown::serve_default},
                                                                         {"reject", Unknown::reject}}));
  command.add_option("--default-model", options.server.api.default_model,
                     "who is asked where a request names no model (default: the first; at a gateway the one "
                     "that is known longest)");
  command.add_option(
      "--metrics-port", options.metrics_port,
      "a second port, which serves /metrics without a key, /livez and /readyz; 0: any free one");
  command.add_option("--metrics-host", options.metrics_host, "its address")->capture_default_str();
  command.add_option("--log-level", options.log_level)
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
}

namespace {

constexpr std::size_t kStylesBytesMax = 16 << 20;

Result<void> read_styles(const std::string& file, std::vector<api::SdStyle>& styles) {
  if (file.empty()) return {};
  const auto text = read_whole_file(file, kStylesBytesMax);
  if (!text) return fail(ErrorCode::invalid_argument, "--styles: " + text.error().message);
  auto read =
      is_utf8(*text) ? api::parse_styles(*text) : fail(ErrorCode::invalid_argument, "it is not UTF-8");
  if (!read)
    return fail(ErrorCode::invalid_argument, fmt::format("--styles: {}: {}", file, read.error().message));
  styles = *std::move(read);
  return {};
}

}  // namespace

void reload_limits(ServeOptions& options, std::function<Result<api::RequestLimits>()> read) {
  if (options.completion.file.empty()) return;
  remember_hangups();
  const auto limits = std::make_shared<api::LimitsInForce>(options.server.api.limits);
  options.server.api.limits_in_force = limits;
  options.server.reload_limits = [limits, read = std::move(read)]() -> Result<void> {
    TRY(const api::RequestLimits fresh, read());
    limits->replace(fresh);
    return {};
  };
}

Result<void> apply_serve_options(ServeOptions& options) {
  set_log_level(options.log_level == "debug"     ? LogLevel::debug
                : options.log_level == "warning" ? LogLevel::warning
                : options.log_level == "error"   ? LogLevel::error
                                                 : LogLevel::info);
  if (options.role != "all" && options.server.store.empty())
    return fail(ErrorCode::invalid_argument,
                fmt::format("--role {}: whose jobs? Name their --store", options.role), "--role");
  options.server.api.probes_only = options.role == "worker";
  // How many models are known at the moment says nothing where others may come and go.
  if (options.server.api.unknown_model == api::UnknownModel::automatic && !options.server.store.empty())
    options.server.api.unknown_model = api::UnknownModel::openai;
  TRY_VOID(apply_access(options.access, options.server));
  TRY_VOID(read_styles(options.styles_file, options.server.api.sd_styles));

  if (options.metrics_port) {
    options.server.watch = http::ServerOptions{};
    options.server.watch->host = options.metrics_host;
    options.server.watch->port = *options.metrics_port;
    options.server.watch->policy.hosts = {"*"};  // whoever watches knows the machine by any name
  }
  options.server.api.version = kVersion;
  options.server.api.job_list =
      options.job_list == "on" || (options.job_list == "auto" &&
                                   (options.server.api.keys || http::is_loopback(options.server.http.host)));
  options.server.api.pictures_tell = !options.plain_pictures;
  options.server.api.request_timeout = std::chrono::seconds(options.request_seconds);
  options.server.api.early_head = std::chrono::seconds(options.early_head_seconds);
  options.server.api.image_lifetime = std::chrono::seconds(options.image_seconds);
  options.server.jobs.lifetime = std::chrono::seconds(options.job_seconds);
  options.server.jobs.queued_lifetime = std::chrono::seconds(options.queued_seconds);
  // One key alone never fills the queue.
  options.server.jobs.owner_queued_max = options.jobs_of_user_max.value_or(
      std::max<std::int64_t>(1, options.server.background.jobs_queued_max / 4));
  set_lease(options.server, options.lease_seconds);
  options.server.drain_timeout = std::chrono::seconds(options.drain_seconds);
  options.server.drain_delay =
      std::chrono::milliseconds(static_cast<std::int64_t>(1000 * options.drain_delay_seconds));
  if (options.server.reload_keys || options.server.http.tls) remember_hangups();
  return {};
}

}  // namespace diffused::app
