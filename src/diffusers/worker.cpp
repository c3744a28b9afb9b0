#include "diffusers/worker.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "diffusers/child_environment.h"

namespace diffused::diffusers {
namespace {

namespace json = boost::json;

constexpr int kProtocol = 1;
constexpr std::size_t kLineBytesMax = 2000;

struct Kind {
  std::string_view word;
  ErrorCode code;
};
constexpr std::array<Kind, 5> kKinds{{{"unsupported", ErrorCode::unsupported},
                                      {"not_found", ErrorCode::not_found},
                                      {"data_loss", ErrorCode::data_loss},
                                      {"invalid_argument", ErrorCode::invalid_argument},
                                      {"out_of_memory", ErrorCode::out_of_memory}}};

std::string text_of(const json::object& object, std::string_view name) {
  const json::value* const found = object.if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

// The answer, or the error that it holds.
Result<Message> checked(Message message) {
  const json::value* const said = message.header.if_contains("error");
  if (said == nullptr) return message;
  const json::object* const error = said->if_object();
  if (error == nullptr) return fail(ErrorCode::data_loss, "an error that is not an object");
  const auto kind = std::ranges::find(kKinds, text_of(*error, "kind"), &Kind::word);
  return fail(kind == kKinds.end() ? ErrorCode::internal : kind->code, text_of(*error, "message"),
              text_of(*error, "field"));
}

}  // namespace

Result<std::unique_ptr<Worker>> Worker::start(WorkerOptions options) {
  auto worker = std::unique_ptr<Worker>(new Worker(std::move(options)));
  worker->thread_ = std::thread([made = worker.get()] { made->run(); });
  std::unique_lock lock(worker->mutex_);
  worker->changed_.wait(lock, [&] { return worker->first_.has_value(); });
  TRY(worker->description_, *std::move(worker->first_));
  lock.unlock();
  return worker;
}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (child_) child_->kill();
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Worker::run() {
  do {
    live_once();
  } while (rest());
}

// One process, from its start to its end.
void Worker::live_once() {
  const auto child = spawn();
  if (!child) return tell_loaded(tl::unexpected(child.error()));
  std::thread listener;
  Result<Description> loaded = Description{};
  try {
    listener = std::thread([this, output = (*child)->output()] { hear(output); });
    Channel channel((*child)->socket());
    loaded = load(channel);
  } catch (const std::exception&) {  // no thread, or no memory
    loaded = fail(ErrorCode::out_of_memory,
                  fmt::format("{}: not enough memory to load the model", options_.folder.string()));
  }
  if (!loaded) (*child)->kill();
  tell_loaded(std::move(loaded));
  if (listener.joinable()) listener.join();  // it hears the end
  const std::lock_guard lock(mutex_);
  child_.reset();
}

void Worker::tell_loaded(Result<Description> loaded) {
  const std::lock_guard lock(mutex_);
  if (loaded) {
    state_ = State::ready;
    ever_loaded_ = true;
  } else {
    log(LogLevel::error, "worker_not_loaded",
        {{"model", options_.name}, {"message", loaded.error().message}});
  }
  if (!first_) first_ = std::move(loaded);
  changed_.notify_all();
}

// The process is up, and others may kill it.
Result<std::shared_ptr<ChildProcess>> Worker::spawn() {
  ChildCommand command{.arguments = {options_.python, "-B", options_.program.string(),
                                     std::to_string(ChildProcess::kSocket), options_.name},
                       .environment = child_environment(options_.threads)};
  TRY(ChildProcess started, ChildProcess::start(command));
  auto child = std::make_shared<ChildProcess>(std::move(started));
  const std::lock_guard lock(mutex_);
  if (stopping_) child->kill();
  child_ = child;
  state_ = State::starting;
  ++generation_;
  return child;
}

Result<Description> Worker::load(Channel& channel) {
  const auto ended = [this](Error error) -> Result<Description> {
    if (error.code == ErrorCode::unavailable)
      error.message =
          fmt::format("{}: the worker ended while it loaded; the log says why", options_.folder.string());
    if (error.code == ErrorCode::deadline)
      error.message = fmt::format("{}: the worker did not load it in {} seconds", options_.folder.string(),
                                  options_.load_max.count());
    return tl::unexpected<Error>(std::move(error));
  };
  auto greeting = channel.receive(options_.load_max).and_then(checked);
  if (!greeting) return ended(std::move(greeting).error());
  const json::value* const protocol = greeting->header.if_contains("protocol");
  if (protocol == nullptr || *protocol != kProtocol)
    return fail(ErrorCode::unsupported,
                fmt::format("{}: not of this version of diffused", options_.program.string()));
  log(LogLevel::info, "worker_started",
      {{"model", options_.name},
       {"python", text_of(greeting->header, "python")},
       {"torch", text_of(greeting->header, "torch")},
       {"diffusers", text_of(greeting->header, "diffusers")}});
  const auto asked = channel.send({{"ask", "load"},
                                   {"folder", options_.folder.string()},
                                   {"dtype", options_.dtype},
                                   {"device", options_.device},
                                   {"variant", options_.variant},
                                   {"threads", options_.threads}},
                                  {}, options_.load_max);
  if (!asked) return ended(asked.error());
  auto answer = channel.receive(options_.load_max).and_then(checked);
  if (!answer) return ended(std::move(answer).error());
  return read_description(answer->header);
}

// What it prints, line by line, until it ends.
void Worker::hear(int output) const {
  std::string line;
  std::array<char, 4096> read{};
  const auto tell = [&] {
    if (!line.empty()) log(LogLevel::info, "worker_says", {{"model", options_.name}, {"line", line}});
    line.clear();
  };
  for (;;) {
    const ssize_t size = ::read(output, read.data(), read.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    for (const char letter : std::string_view(read.data(), static_cast<std::size_t>(size))) {
      if (letter == '\n' || letter == '\r')
        tell();
      else if (line.size() < kLineBytesMax)
        line.push_back(letter);
    }
  }
  tell();
}

// Waits before the next start; whether there is to be one.
bool Worker::rest() {
  std::unique_lock lock(mutex_);
  if (stopping_ || !ever_loaded_) return false;
  ++strikes_;
  state_ = strikes_ < kStrikesMax ? State::resting : State::out;
  const auto wait = std::min(options_.rest_max, options_.rest_min * (1 << std::min(strikes_ - 1, 16)));
  log(LogLevel::error, "worker_ended",
      {{"model", options_.name}, {"strikes", strikes_}, {"stays_away", state_ == State::out}});
  if (state_ == State::out) return false;
  return !changed_.wait_for(lock, wait, [this] { return stopping_; });
}

std::uint64_t Worker::generation() const {
  const std::lock_guard lock(mutex_);
  return generation_;
}

Error Worker::gone() const {
  if (state_ == State::out)
    return {ErrorCode::unavailable,
            fmt::format("The model '{}' has failed {} times in a row and is not started again.",
                        options_.name, kStrikesMax),
            "model", "worker_out"};
  return {ErrorCode::unavailable,
          fmt::format("The process of the model '{}' has ended and is being started again.", options_.name),
          "model", "worker_ended", std::max(options_.rest_min, std::chrono::milliseconds(1000))};
}

Result<void> Worker::check_ready() const {
  const std::lock_guard lock(mutex_);
  if (state_ == State::ready && child_) return {};
  return tl::unexpected(gone());
}

// Nothing is thrown: a message of which half was read would leave the rest for the next answer.
Result<Message> Worker::converse(ChildProcess& child, const json::object& question,
                                 std::initializer_list<Channel::Bytes> blob) const {
  try {
    Channel channel(child.socket());
    TRY_VOID(channel.send(question, blob, options_.unit_max));
    return channel.receive(options_.unit_max, &child);
  } catch (const std::exception&) {
    return fail(ErrorCode::out_of_memory, "not enough memory for an answer");
  }
}

Result<Message> Worker::ask(std::uint64_t generation, const json::object& question,
                            std::initializer_list<Channel::Bytes> blob) {
  std::shared_ptr<ChildProcess> child;
  {
    const std::lock_guard lock(mutex_);
    if (generation != generation_ || !child_ || state_ != State::ready) return tl::unexpected(gone());
    child = child_;
  }
  auto answer = converse(*child, question, blob);
  if (answer) return checked(*std::move(answer));
  child->kill();  // whatever went wrong, what it would say next is not the answer
  const std::lock_guard lock(mutex_);
  if (state_ == State::ready) state_ = State::resting;
  return tl::unexpected(gone());
}

void Worker::forgive() {
  const std::lock_guard lock(mutex_);
  strikes_ = 0;
}

}  // namespace diffused::diffusers
