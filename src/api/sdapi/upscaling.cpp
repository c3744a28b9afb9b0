#include "api/sdapi/upscaling.h"

#include <fmt/format.h>

#include "api/memory.h"
#include "api/reply.h"
#include "async/submitted_job.h"

namespace diffused::api {
namespace {

constexpr int kPassesMax = 3;
// Of a pixel that is made: it, and a tile of it.
constexpr int kUpscaledBytes = 6;

std::string names_of_upscalers(const Api& api) {
  std::string names = fmt::format("{}, {}", kNoUpscaler, kLanczos);
  for (const ServedModel& network : api.dispatcher.upscalers()) names += ", " + network.name;
  return names;
}

// A picture that is as large as it shall be goes through the network once, as in A1111.
bool is_enough(const Image& image, Size least, int passes) {
  const bool larger = image.width > least.width && image.height > least.height;
  return passes == 0 ? larger : image.width >= least.width && image.height >= least.height;
}

Result<void> check_enlarged(const Image& image, int scale, const DecodeLimits& limits) {
  const auto width = static_cast<std::uint64_t>(image.width) * scale;
  const auto height = static_cast<std::uint64_t>(image.height) * scale;
  auto fits = check_size(width, height, kUpscaledBytes, limits);
  if (fits || fits.error().code != ErrorCode::invalid_argument) return fits;
  return fail(ErrorCode::invalid_argument,
              fmt::format("the upscaler would make {}x{}; at most {} a side and {} pixels in all are made",
                          width, height, limits.side_max, limits.pixels_max),
              "upscaling_resize", "image_too_large");
}

}  // namespace

Result<Upscaler> find_upscaler(const Api& api, const std::string& name) {
  if (name.empty() || name == kNoUpscaler) return Upscaler{};
  if (name == kLanczos) return Upscaler{kLanczos};
  const auto networks = api.dispatcher.upscalers();
  if (const auto network = find_named(networks, name); network != networks.end())
    return Upscaler{network->name, *network};
  return fail(ErrorCode::invalid_argument, fmt::format("must be one of {}", names_of_upscalers(api)), {},
              "invalid_value");
}

asio::awaitable<Result<Image>> run_upscaler(const Api& api, http::Exchange& exchange,
                                            const ServedModel& network, Image image, Size least) {
  const DecodeLimits limits = counted(api.limits().upload, exchange.request());
  for (int passes = 0; passes < kPassesMax && !is_enough(image, least, passes); ++passes) {
    if (auto fits = check_enlarged(image, network.info.enlarges, limits); !fits)
      co_return tl::unexpected(fits.error());
    const auto options = submit_options(api, exchange.request());
    if (!options) co_return tl::unexpected(options.error());
    GenerateRequest request;
    request.model = network.name;
    request.init_image = std::make_shared<const Image>(std::move(image));
    request.seeds = {0};
    auto run =
        SubmittedJob::submit(api.dispatcher, std::move(request), *options, exchange.executor(), api.clock);
    if (!run) co_return tl::unexpected(run.error());
    exchange.note_job((*run)->ticket().id());
    for (bool ended = false; !ended;) {
      std::optional<Event> event = co_await (*run)->next();
      if (auto* ready = std::get_if<ImageReady>(&*event)) image = std::move(ready->image);
      if (const auto* failed = std::get_if<JobFailed>(&*event)) co_return tl::unexpected(failed->error);
      ended = std::holds_alternative<JobDone>(*event);
    }
  }
  co_return image;
}

}  // namespace diffused::api
