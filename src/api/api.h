// START HERE for the room `api`: what clients may ask for and how they are answered. JSON and HTTP statuses
// stop here; behind it are validated native types (job/job.h). One file per endpoint; routes.cpp is the list
// of them, errors.cpp the table of errors; parameters/request_fields.h is the list of request fields.
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/json/object.hpp>
#include <chrono>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "api/keys.h"
#include "api/sdapi/board.h"
#include "api/sdapi/styles.h"
#include "async/workers.h"
#include "background/picture_output.h"
#include "base/clock.h"
#include "base/memory_budget.h"
#include "image/codec.h"
#include "job/dispatcher.h"
#include "job/engine_status.h"
#include "storage/blob_store.h"

namespace diffused::background {
class Background;
}

namespace diffused::api {

namespace asio = boost::asio;
namespace json = boost::json;

// How pictures travel when a request does not say.
enum class DefaultResponseFormat {
  automatic,  // b64_json for the prefixes in ApiOptions, else url
  url,
  b64_json,
};

// What becomes of a model name that nothing is served under.
enum class UnknownModel {
  automatic,  // the served model when there is one only, else not_found; where servers share a store: openai
  openai,     // the default for names like those of OpenAI's models, else not_found
  serve_default,  // the default
  reject,         // not_found
};

// The largest request that is accepted. Each is told to clients in /openapi.json and in the error that names
// it.
struct RequestLimits {
  int n_max = 12;  // OpenAI's are 10; Nextcloud asks for up to 12
  int steps_max = 200;
  int side_max = 4096;  // pixels; the model's own limit may be lower
  std::size_t prompt_characters_max = 32'000;
  double guidance_scale_max = 100;
  double pixel_steps_max = 4e9;  // n × width × height × steps
  std::size_t json_bytes_max = 1 << 20;
  std::size_t upload_bytes_max = 64 << 20;  // a body with images
  std::chrono::seconds timeout_max = std::chrono::hours(24);
  DecodeLimits upload;
  // Whether what would be ignored is refused: fields of no known name, words of no known meaning, a
  // transparent background.
  bool strict = false;
};

// Limits that may be replaced while the server runs. Any thread.
class LimitsInForce {
 public:
  explicit LimitsInForce(const RequestLimits& limits) { replace(limits); }
  // Lives as long as this object, so that what has begun with it may go on with it.
  const RequestLimits& now() const { return *now_.load(); }
  void replace(const RequestLimits& limits) {
    const std::lock_guard lock(mutex_);
    now_ = &all_.emplace_back(limits);
  }

 private:
  std::mutex mutex_;
  std::deque<RequestLimits> all_;  // guarded by mutex_: as many as there were replacements, which people make
  std::atomic<const RequestLimits*> now_ = nullptr;
};

struct ApiOptions {
  std::string version;     // the program's, for people
  std::string public_url;  // "https://host:port", no slash at the end; empty: from the Host header
  DefaultResponseFormat default_response_format = DefaultResponseFormat::automatic;
  // Models asked for by names that begin like this answer with bytes when a request does not say.
  std::vector<std::string> b64_model_prefixes = {"gpt-image", "chatgpt-image"};
  UnknownModel unknown_model = UnknownModel::automatic;
  std::string default_model;  // who is asked where a request names no model; empty: the first served one
  std::filesystem::path pages_dir;  // whose files go before the pages in the program; empty: none do
  std::vector<SdStyle> sd_styles;
  std::string sd_prompt_syntax;  // of A1111's dialect where a request names none; empty: as elsewhere
  bool probes_only = false;      // whether clients are served nothing but the signs of life and the figures
  std::shared_ptr<const Keys> keys;  // null: whoever reaches the server may use it
  // Whether GET /v1/images/jobs is served. Without keys it lists an address's jobs, which strangers may
  // share.
  bool job_list = true;
  bool pictures_tell = true;  // whether PNGs hold what they were made from, the prompt too
  RequestLimits limits;
  std::shared_ptr<const LimitsInForce> limits_in_force;  // go before `limits`; null: those stay
  std::chrono::seconds image_lifetime = std::chrono::hours(1);
  // A request that takes longer fails; a client may ask for another time with X-Request-Timeout (seconds).
  std::chrono::seconds request_timeout = std::chrono::minutes(15);
  // How often a silent event stream says that it is alive.
  std::chrono::milliseconds keep_alive = std::chrono::seconds(15);
  // When an answer that is no stream has its head sent, so that the client goes on waiting: Node's gives up
  // after five minutes without one. What fails later is told in a body of status 200. Zero: never.
  std::chrono::seconds early_head = std::chrono::minutes(4);
  std::size_t queue_jobs_max = 0;  // how many jobs may wait, for x-ratelimit-…
};

// Whether requests can be served now, for GET /health.
struct Health {
  bool ready = false;
  json::object checks;    // each check's name and what it found, for people
  bool degraded = false;  // a store fails or is full: what need not be kept is answered all the same
};

using background::PictureStage;

// What the endpoints work with. Everything referred to outlives the server; all of it may be used from any
// thread.
struct Api {
  const RequestLimits& limits() const {
    return options.limits_in_force ? options.limits_in_force->now() : options.limits;
  }

  ApiOptions options;
  Dispatcher& dispatcher;
  storage::BlobStore& images;
  Workers& workers;  // decode, encode and store pictures: an io thread never does
  const Clock& clock;
  std::function<Health()> health;        // must not block
  std::function<std::string()> metrics;  // Prometheus text format; must not block; null: no such endpoint
  std::shared_ptr<SdBoard> sd_board = std::make_shared<SdBoard>();
  background::Background* background = nullptr;  // null: no job outlives its request
  std::shared_ptr<MemoryBudget> memory =
      nullptr;                   // what jobs that outlive it are charged to; null: nobody counts
  EngineView* engine = nullptr;  // of this process; null: it has none
  // Told how long a stage of a picture of that model took; must not block; null: nobody counts.
  std::function<void(std::string_view model, PictureStage, double seconds)> stage_finished = {};
};

}  // namespace diffused::api
