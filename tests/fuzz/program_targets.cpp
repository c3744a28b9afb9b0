// What the program reads of its operator and of its own worker processes.
#include <sys/socket.h>

#include <array>

#include "app/serve_options.h"
#include "base/check.h"
#include "diffusers/channel.h"
#include "diffusers/description.h"
#include "diffusers/request.h"
#include "fuzz/scratch.h"
#include "fuzz/targets.h"

namespace diffused::fuzz {
namespace {

constexpr std::chrono::seconds kPatience{5};

GenerateRequest asked(bool picture, bool mask) {
  GenerateRequest request;
  request.prompt = "a kitten";
  request.seeds = {1};
  const auto image = std::make_shared<const Image>(Image{1, 1, 3, std::vector<std::uint8_t>(3)});
  if (picture) request.init_image = image;
  if (mask) request.mask = image;
  return request;
}

void ask(const diffusers::Description& model) {
  for (const auto& request : {asked(false, false), asked(true, false), asked(true, true)}) {
    const auto resolved = diffusers::resolve_request(model, request);
    if (!resolved) continue;
    CHECK(resolved->width && resolved->height && *resolved->width >= 1 && *resolved->height >= 1);
    static_cast<void>(diffusers::call_arguments(model, *resolved, 0));
    static_cast<void>(diffusers::work_of(model, *resolved));
  }
}

}  // namespace

void options_file(std::string_view bytes) {
  app::ServeOptions options;
  CLI::App command;
  app::add_serve_options(command, options);
  command.parse(std::string());
  options.completion.file = scratch().write("options.toml", bytes);
  const auto completed = app::complete(command, options.completion);
  if (!completed) CHECK(completed.error().code == ErrorCode::invalid_argument);
}

// All that a worker says, until it hangs up. What a socket does not hold is left out.
void worker_messages(std::string_view bytes) {
  std::array<int, 2> ends{};
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  if (!bytes.empty()) static_cast<void>(::send(ends[1], bytes.data(), bytes.size(), MSG_DONTWAIT));
  ::close(ends[1]);
  diffusers::Channel channel(ends[0]);
  for (;;) {
    const auto message = channel.receive(kPatience);
    if (!message) {
      CHECK(message.error().code == ErrorCode::unavailable || message.error().code == ErrorCode::data_loss);
      break;
    }
    const auto model = diffusers::read_description(message->header);
    if (model)
      ask(*model);
    else
      CHECK(model.error().code == ErrorCode::data_loss);
  }
  ::close(ends[0]);
}

}  // namespace diffused::fuzz
