// What the servers on one job store tell each other: that there is something to claim, that a job was
// cancelled, and what happens to a job that runs on one server and is watched on another. All of it may be
// lost: the rows say the same a little later.
#include <boost/asio/co_spawn.hpp>
#include <boost/json/parse.hpp>

#include "async/offload.h"
#include "background/background.h"
#include "base/ids.h"
#include "base/json_text.h"
#include "base/log.h"
#include "image/base64.h"
#include "image/codec.h"

namespace diffused::background {
namespace {

// A message is to fit into what a store takes; of events only previews are larger, and travel as blobs.
constexpr std::size_t kDataBytesMax = 6000;
constexpr std::int64_t kPreviewSeconds = 600;

std::string text_member(const json::object& message, const char* name) {
  const json::value* const value = message.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

void Background::tell(json::object message) {
  if (options_.claim_delay.count() > 0) store_.tell(json_text(message));
}

void Background::finish_job(const std::string& id, std::size_t pictures) {
  asio::post(strand_, [this, id, pictures] { finish_run(id, pictures); });
  tell({{"do", "finish"}, {"job", id}, {"pictures", pictures}});
}

void Background::ask_for_events(const std::string& id, const EventId& last) {
  tell({{"do", "watch"}, {"job", id}, {"after", last.text()}});
}

asio::awaitable<void> Background::hear(std::string text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) co_return;  // of a later version, or not ours
  const json::object& message = value.get_object();
  const std::string what = text_member(message, "do"), id = text_member(message, "job");
  if (what == "claim") {
    wake();
  } else if (what == "stop") {
    end_run(id);
    if (const auto watched = known_feed(id)) watched->row_changed();
  } else if (what == "finish") {
    const json::value* const pictures = message.if_contains("pictures");
    if (pictures != nullptr && (pictures->is_uint64() || pictures->is_int64()))
      finish_run(id, pictures->to_number<std::size_t>());
  } else if (what == "look") {
    if (const auto watched = known_feed(id)) watched->row_changed();
  } else if (what == "event") {
    co_await take_event(message);
  } else if (what == "watch" && runs_here(id)) {
    watched_elsewhere_[id] = parts_.clock.now() + kToldAfterAsking;
    const EventId last = EventId::parse(text_member(message, "after")).value_or(EventId{});
    for (const JobEventLog::Entry& entry : feed(id)->after(last)) send_event(id, entry);
  }
}

void Background::finish_run(const std::string& id, std::size_t pictures) {
  for (const auto& [lease, run] : runs_)
    if (lease.first == id && run != nullptr) run->finish_early(pictures);
}

void Background::end_run(const std::string& id) {
  for (const auto& [lease, run] : runs_)
    if (lease.first == id && run != nullptr) run->cancel();
}

std::shared_ptr<JobEventLog> Background::known_feed(const std::string& id) const {
  const std::lock_guard lock(feeds_mutex_);
  const auto found = feeds_.find(id);
  return found == feeds_.end() ? nullptr : found->second.lock();
}

void Background::add_event(const std::string& id, JobEventLog& feed, std::string name, json::object payload) {
  payload["type"] = name;
  const JobEventLog::Entry entry = feed.add(std::move(name), json_text(payload));
  const auto watched = watched_elsewhere_.find(id);
  if (watched != watched_elsewhere_.end() && watched->second >= parts_.clock.now()) send_event(id, entry);
}

void Background::send_event(const std::string& id, const JobEventLog::Entry& entry) {
  json::object message{{"do", "event"}, {"job", id}, {"id", entry.id.text()}, {"name", entry.name}};
  if (entry.data.size() <= kDataBytesMax) {
    message["data"] = entry.data;
    return tell(std::move(message));
  }
  asio::co_spawn(strand_, send_preview(std::move(message), entry.data), log_background_fault);
}

// A preview goes where pictures are kept, as all servers find it there.
asio::awaitable<void> Background::send_preview(json::object message, std::string data) {
  json::object payload = json::parse(data).as_object();
  const std::string blob = random_id("pre_");
  const auto kept = co_await offload(parts_.workers, kOwnWork, [&]() -> Result<void> {
    TRY(std::string bytes, from_base64(payload.at("b64_json").as_string()));
    return parts_.pictures.images.put(blob, {std::make_shared<const std::string>(std::move(bytes)),
                                             "image/png", parts_.clock.lifetime_seconds() + kPreviewSeconds});
  });
  if (!kept) co_return;
  payload.erase("b64_json");
  message["data"] = json_text(payload);
  message["picture"] = blob;
  tell(std::move(message));
}

asio::awaitable<void> Background::take_event(const json::object& message) {
  const auto watched = known_feed(text_member(message, "job"));
  const auto id = EventId::parse(text_member(message, "id"));
  if (!watched || !id || runs_here(text_member(message, "job"))) co_return;
  std::string data = text_member(message, "data");
  if (const std::string picture = text_member(message, "picture"); !picture.empty()) {
    const auto blob =
        co_await offload(parts_.workers, kOwnWork, [&] { return parts_.pictures.images.get(picture); });
    boost::system::error_code error;
    json::value payload = json::parse(data, error);
    if (!blob || error || !payload.is_object()) co_return;
    payload.get_object()["b64_json"] = to_base64(*blob->bytes);
    data = json_text(payload);
  }
  watched->take({*id, text_member(message, "name"), std::move(data)});
}

}  // namespace diffused::background
