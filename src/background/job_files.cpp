#include "background/job_files.h"

#include <boost/json/parse.hpp>

#include "async/offload.h"
#include "base/ids.h"
#include "parameters/error_record.h"
#include "parameters/request_fields.h"
#include "storage/sha256.h"

namespace diffused::background {

using jobstore::Job;
using jobstore::JobState;

namespace {

constexpr std::size_t kUserDigits = 16;
// A job that waits longer than this has lost the pictures it starts from.
constexpr std::int64_t kInputSeconds = 7 * 24 * 3600;

// What the ids of a user's inputs begin with, by which their bytes are counted, also after a restart.
std::string input_prefix(const std::string& user) {
  return "in_" + storage::sha256_hex(user).substr(0, kUserDigits) + "_";
}

// The picture as a PNG, which loses nothing, under a new id.
Result<std::string> keep_input(const Background& background, const std::string& user, const Image& image) {
  TRY(std::string bytes, find_codec("png")->encode(image, {}));
  const std::string prefix = input_prefix(user);
  if (background.parts().inputs.bytes_of(prefix) + bytes.size() > background.inputs_of_user_bytes_max()) {
    Error full{ErrorCode::overloaded, "as many bytes of your pictures wait as may", {}, "queue_full"};
    full.retry_after = std::chrono::seconds(5);
    return tl::unexpected(std::move(full));
  }
  const std::string id = random_id(prefix);
  TRY_VOID(
      background.parts().inputs.put(id, {std::make_shared<const std::string>(std::move(bytes)), "image/png",
                                         background.parts().clock.lifetime_seconds() + kInputSeconds}));
  return id;
}

double cost_of(const GenerateRequest& request) {
  return 1e-6 * request.width.value_or(1) * request.height.value_or(1) *
         request.num_inference_steps.value_or(1) * static_cast<double>(request.n());
}

std::vector<std::string> made_pictures(const Job& job) {
  std::vector<std::string> ids;
  try {
    const json::value outcome = json::parse(*job.outcome);
    for (const json::value& item : outcome.at("data").as_array())
      if (const json::value* const picture = item.as_object().if_contains("picture"))
        ids.emplace_back(picture->as_string());
  } catch (const std::exception&) {  // Boost.JSON's conversions throw; what it does not name will expire
  }
  return ids;
}

asio::awaitable<void> drop(const Parts& parts, storage::BlobStore& store, std::vector<std::string> ids) {
  if (ids.empty()) co_return;
  co_await offload(parts.workers, kOwnWork, [&] {
    for (const std::string& id : ids) static_cast<void>(store.remove(id));
  });
}

}  // namespace

Result<JobSpec> keep_inputs(const Background& background, const std::string& user, PictureRequest request) {
  JobSpec spec;
  Result<void> kept;
  each_picture(request.generate, [&](const PictureInfo& input, const auto& member) {
    for (const PicturePointer& picture : pictures_in(member)) {
      if (!kept) return;
      if (auto id = keep_input(background, user, *picture))
        spec.pictures[std::string(input.name)].push_back(*std::move(id));
      else
        kept = tl::unexpected(std::move(id).error());
    }
  });
  if (!kept) {
    for (const std::string& id : picture_ids(spec)) static_cast<void>(background.parts().inputs.remove(id));
    return tl::unexpected(std::move(kept).error());
  }
  spec.request = std::move(request);
  return spec;
}

jobstore::NewJob row_of(const JobSpec& spec) {
  const GenerateRequest& request = spec.request.generate;
  jobstore::NewJob job;
  job.id = random_id("job_");
  job.pool = request.model;
  job.batch_key = batch_key(request);
  job.cost = cost_of(request);
  job.spec = write_spec(spec);
  return job;
}

// A failure without a word is a job whose server died under it each time.
Error failure_of(const Job& job) {
  if (job.state == JobState::cancelled) return {ErrorCode::cancelled, "The request was cancelled.", {}, {}};
  if (!job.outcome)
    return {ErrorCode::internal, "the server ended at each attempt to make this job", {}, "worker_lost"};
  auto failure = read_failure(*job.outcome);
  return failure ? *std::move(failure) : std::move(failure).error();
}

asio::awaitable<void> drop_inputs(const Parts& parts, const std::string& text) {
  const auto spec = read_spec(text);
  if (!spec) co_return;
  co_await drop(parts, parts.inputs, picture_ids(*spec));
}

asio::awaitable<void> drop_pictures(const Parts& parts, const Job& job) {
  if (job.state != JobState::succeeded) co_return;
  co_await drop(parts, parts.pictures.images, made_pictures(job));
}

}  // namespace diffused::background
