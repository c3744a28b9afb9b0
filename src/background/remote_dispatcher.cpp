#include "background/remote_dispatcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <future>

#include "async/offload.h"
#include "async/store_call.h"
#include "background/background.h"
#include "background/model_announcement.h"
#include "base/ids.h"
#include "base/last_word.h"
#include "base/log.h"
#include "job/request_rules.h"
#include "parameters/error_record.h"
#include "parameters/request_fields.h"

namespace diffused::background {

using jobstore::Announced;

namespace {

constexpr auto kAskPictures = 5s;
// What servers need to find the store again and to say what they have, once it was away.
constexpr auto kSpeakAgain = 30s;

bool answers_to(const ServedModel& model, const std::string& name) {
  return model.name == name || std::ranges::count(model.aliases, name) > 0;
}

}  // namespace

RemoteDispatcher::RemoteDispatcher(Background& background, asio::any_io_executor executor, bool asks_pictures)
    : background_(background),
      executor_(std::move(executor)),
      strand_(asio::make_strand(executor_)),
      look_signal_(strand_),
      asks_pictures_(asks_pictures) {}

void RemoteDispatcher::look_for_models() {
  std::promise<Result<std::vector<Announced>>> answer;
  background_.store().models([&](Result<std::vector<Announced>> models) { answer.set_value(models); });
  if (const auto announced = answer.get_future().get()) learn(*announced);
  start_looking();
}

void RemoteDispatcher::start_looking() {
  asio::co_spawn(strand_, keep_looking(), [this](const std::exception_ptr& fault) {
    if (!fault) return;
    log_fault("model_look_fault", fault);
    start_looking();
  });
}

asio::awaitable<void> RemoteDispatcher::keep_looking() {
  while (true) {
    co_await look_signal_.wait(kRowLook);
    {
      const std::lock_guard lock(mutex_);
      if (!open_ && remotes_.empty()) co_return;
    }
    if (asks_pictures_ && parts().clock.now() >= ask_pictures_at_) {
      co_await offload_slow(parts().workers, kOwnWork, [this] { parts().pictures.images.ask(); });
      ask_pictures_at_ = parts().clock.now() + kAskPictures;
    }
    const auto announced = co_await store_call<std::vector<Announced>>(
        [this](auto reply) { background_.store().models(std::move(reply)); });
    if (announced) {
      learn(*announced);
    } else {
      const std::lock_guard lock(mutex_);
      trusted_until_ = parts().clock.now() + kSpeakAgain;
    }
  }
}

void RemoteDispatcher::learn(const std::vector<Announced>& announced) {
  std::vector<Model> models;
  std::set<std::string> remembered;
  for (const Announced& note : announced) {
    auto model = read_model(note.description);
    if (!note.recent) {
      remembered.insert(note.name);
      if (model) remembered.insert(model->aliases.begin(), model->aliases.end());
      continue;
    }
    if (!model) {
      log(LogLevel::warning, "model_unknown", {{"model", note.name}});
      continue;  // of a server of another version
    }
    model->name = note.name;
    model->created = note.added;
    model->here = false;
    models.push_back({*std::move(model), note.served});
  }
  const std::lock_guard lock(mutex_);
  if (parts().clock.now() < trusted_until_)
    for (const Model& known : models_)
      for (Model& model : models)
        model.there = model.there || (known.there && known.served.name == model.served.name);
  models_ = std::move(models);
  remembered_ = std::move(remembered);
}

std::vector<ServedModel> RemoteDispatcher::models() const {
  const std::lock_guard lock(mutex_);
  std::vector<ServedModel> models;
  for (const Model& model : models_) models.push_back(model.served);
  return models;
}

bool RemoteDispatcher::remembers(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return remembered_.contains(name);
}

Result<RemoteDispatcher::Model> RemoteDispatcher::find_model(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  // A name goes before another model's alias.
  for (const bool alias : {false, true})
    for (const Model& model : models_)
      if (alias ? answers_to(model.served, name) : model.served.name == name) return model;
  return fail(ErrorCode::not_found, fmt::format("The model '{}' does not exist.", name), "model",
              "model_not_found");
}

bool RemoteDispatcher::is_there(const std::string& name) const {
  const auto model = find_model(name);
  return model && model->there;
}

Result<GenerateRequest> RemoteDispatcher::resolve(GenerateRequest request) const {
  TRY(const Model model, find_model(request.model));
  request.model = model.served.name;
  fill_in_defaults(model.served.info, request);
  TRY_VOID(check_limits(model.served.info, request));
  return request;
}

Result<Ticket> RemoteDispatcher::submit(GenerateRequest asked, SubmitOptions options, EventSink sink) {
  TRY(GenerateRequest request, resolve(std::move(asked)));
  const std::string model = request.model;
  auto ticket = take(std::move(request), std::move(options), std::move(sink));
  if (!ticket) background_.observer().refused(model, word_of(ticket.error()));
  return ticket;
}

// Of a request that is resolved.
Result<Ticket> RemoteDispatcher::take(GenerateRequest request, SubmitOptions options, EventSink sink) {
  if (!is_there(request.model))
    return later(ErrorCode::unavailable,
                 fmt::format("no server has the model '{}' at present", request.model), "model_away");
  TRY_VOID(background_.check_room(request.model));
  // Pictures that it starts from go through that store; those that it makes need not.
  if (!all_pictures(request).empty()) TRY_VOID(parts().pictures.images.check_room());
  const auto strand = asio::make_strand(executor_);
  const auto remote = std::make_shared<RemoteJob>();
  remote->name = random_id("job_");
  remote->request = std::move(request);
  remote->options = std::move(options);
  remote->sink = std::move(sink);
  remote->submitted = parts().clock.now();
  remote->signal = std::make_shared<WakeSignal>(strand);
  {
    const std::lock_guard lock(mutex_);
    if (!open_) return later(ErrorCode::unavailable, "the server is shutting down", "draining");
    remotes_.insert(remote);
  }
  asio::co_spawn(strand, run(remote),
                 [](const std::exception_ptr& fault) { log_fault("remote_job_fault", fault); });
  const auto waiting = static_cast<std::size_t>(std::max<std::int64_t>(0, background_.counts().queued));
  return Ticket(
      remote->name, waiting, 0,
      [remote] {
        remote->cancelled = true;
        remote->signal->notify();
      },
      [remote](std::size_t pictures) {
        remote->finish_below = pictures;
        remote->signal->notify();
      });
}

void RemoteDispatcher::drain(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  open_ = false;
  ended_.wait_for(lock, timeout, [this] { return remotes_.empty(); });
  stopping_ = true;
  for (const auto& remote : remotes_) remote->signal->notify();
  ended_.wait(lock, [this] { return remotes_.empty(); });
  lock.unlock();
  look_signal_.notify();
}

std::vector<std::pair<std::string, bool>> RemoteDispatcher::model_states() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<std::string, bool>> states;
  for (const Model& model : models_) states.emplace_back(model.served.name, model.there);
  return states;
}

std::size_t RemoteDispatcher::under_way() const {
  const std::lock_guard lock(mutex_);
  return remotes_.size();
}

}  // namespace diffused::background
