#include "api/store_dispatcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <future>

#include "api/ask.h"
#include "api/background.h"
#include "api/errors.h"
#include "api/model_note.h"
#include "api/offload.h"
#include "base/ids.h"
#include "base/last_word.h"
#include "base/log.h"
#include "job/request_rules.h"
#include "parameters/request_fields.h"

namespace diffused::api {

using jobstore::Announced;

namespace {

constexpr auto kAskPictures = 5s;
// What servers need to find the store again and to say what they have, once it was away.
constexpr auto kSpeakAgain = 30s;

bool answers_to(const ServedModel& model, const std::string& name) {
  return model.name == name || std::ranges::count(model.aliases, name) > 0;
}

}  // namespace

StoreDispatcher::StoreDispatcher(const Api& api, asio::any_io_executor executor, bool asks_pictures)
    : api_(api),
      executor_(std::move(executor)),
      strand_(asio::make_strand(executor_)),
      look_bell_(strand_),
      asks_pictures_(asks_pictures) {}

void StoreDispatcher::look_for_models() {
  std::promise<Result<std::vector<Announced>>> answer;
  api_.background->store().models([&](Result<std::vector<Announced>> models) { answer.set_value(models); });
  if (const auto announced = answer.get_future().get()) learn(*announced);
  start_looking();
}

void StoreDispatcher::start_looking() {
  asio::co_spawn(strand_, keep_looking(), [this](const std::exception_ptr& fault) {
    if (!fault) return;
    log_fault("model_look_fault", fault);
    start_looking();
  });
}

asio::awaitable<void> StoreDispatcher::keep_looking() {
  while (true) {
    co_await look_bell_.wait(kRowLook);
    {
      const std::lock_guard lock(mutex_);
      if (!open_ && errands_.empty()) co_return;
    }
    if (asks_pictures_ && api_.clock.now() >= ask_pictures_at_) {
      co_await offload_slow(api_.workers, kOwnWork, [this] { api_.images.ask(); });
      ask_pictures_at_ = api_.clock.now() + kAskPictures;
    }
    const auto announced = co_await ask<std::vector<Announced>>(
        [this](auto reply) { api_.background->store().models(std::move(reply)); });
    if (announced) {
      learn(*announced);
    } else {
      const std::lock_guard lock(mutex_);
      trusted_until_ = api_.clock.now() + kSpeakAgain;
    }
  }
}

void StoreDispatcher::learn(const std::vector<Announced>& announced) {
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
  if (api_.clock.now() < trusted_until_)
    for (const Model& known : models_)
      for (Model& model : models)
        model.there = model.there || (known.there && known.served.name == model.served.name);
  models_ = std::move(models);
  remembered_ = std::move(remembered);
}

std::vector<ServedModel> StoreDispatcher::models() const {
  const std::lock_guard lock(mutex_);
  std::vector<ServedModel> models;
  for (const Model& model : models_) models.push_back(model.served);
  return models;
}

bool StoreDispatcher::remembers(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return remembered_.contains(name);
}

Result<StoreDispatcher::Model> StoreDispatcher::find_model(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  // A name goes before another model's alias.
  for (const bool alias : {false, true})
    for (const Model& model : models_)
      if (alias ? answers_to(model.served, name) : model.served.name == name) return model;
  return fail(ErrorCode::not_found, fmt::format("The model '{}' does not exist.", name), "model",
              "model_not_found");
}

bool StoreDispatcher::is_there(const std::string& name) const {
  const auto model = find_model(name);
  return model && model->there;
}

Result<GenerateRequest> StoreDispatcher::resolve(GenerateRequest request) const {
  TRY(const Model model, find_model(request.model));
  request.model = model.served.name;
  fill_in_defaults(model.served.info, request);
  TRY_VOID(check_limits(model.served.info, request));
  return request;
}

Result<Ticket> StoreDispatcher::submit(GenerateRequest asked, SubmitOptions options, EventSink sink) {
  TRY(GenerateRequest request, resolve(std::move(asked)));
  const std::string model = request.model;
  auto ticket = take(std::move(request), std::move(options), std::move(sink));
  if (!ticket) api_.background->observer().refused(model, word_of(ticket.error()));
  return ticket;
}

// Of a request that is resolved.
Result<Ticket> StoreDispatcher::take(GenerateRequest request, SubmitOptions options, EventSink sink) {
  if (!is_there(request.model))
    return later(ErrorCode::unavailable,
                 fmt::format("no server has the model '{}' at present", request.model), "model_away");
  TRY_VOID(api_.background->check_room(request.model));
  // Pictures that it starts from go through that store; those that it makes need not.
  if (!all_pictures(request).empty()) TRY_VOID(api_.images.check_room());
  const auto strand = asio::make_strand(executor_);
  const auto errand = std::make_shared<Errand>();
  errand->name = random_id("job_");
  errand->request = std::move(request);
  errand->options = std::move(options);
  errand->sink = std::move(sink);
  errand->submitted = api_.clock.now();
  errand->bell = std::make_shared<Bell>(strand);
  {
    const std::lock_guard lock(mutex_);
    if (!open_) return later(ErrorCode::unavailable, "the server is shutting down", "draining");
    errands_.insert(errand);
  }
  asio::co_spawn(strand, run(errand),
                 [](const std::exception_ptr& fault) { log_fault("errand_fault", fault); });
  const auto waiting = static_cast<std::size_t>(std::max<std::int64_t>(0, api_.background->counts().queued));
  return Ticket(
      errand->name, waiting, 0,
      [errand] {
        errand->cancelled = true;
        errand->bell->ring();
      },
      [errand](std::size_t pictures) {
        errand->finish_below = pictures;
        errand->bell->ring();
      });
}

void StoreDispatcher::drain(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  open_ = false;
  ended_.wait_for(lock, timeout, [this] { return errands_.empty(); });
  stopping_ = true;
  for (const auto& errand : errands_) errand->bell->ring();
  ended_.wait(lock, [this] { return errands_.empty(); });
  lock.unlock();
  look_bell_.ring();
}

std::vector<std::pair<std::string, bool>> StoreDispatcher::model_states() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<std::string, bool>> states;
  for (const Model& model : models_) states.emplace_back(model.served.name, model.there);
  return states;
}

std::size_t StoreDispatcher::under_way() const {
  const std::lock_guard lock(mutex_);
  return errands_.size();
}

}  // namespace diffused::api
