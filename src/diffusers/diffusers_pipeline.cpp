#include "diffusers/diffusers_pipeline.h"

#include <fmt/format.h>

#include <atomic>
#include <functional>

#include "base/check.h"
#include "base/log.h"
#include "diffusers/request.h"
#include "image/channels.h"
#include "image/resize.h"

namespace diffused::diffusers {
namespace {

namespace json = boost::json;

// Of what the model has in memory; its networks are shared with nobody.
std::uint64_t next_network_id() {
  static std::atomic<std::uint64_t> last{std::uint64_t{1} << 63};  // those of NetworkStore count from 1
  return ++last;
}

// A picture's place in its own size and channels, for the call.
std::optional<Image> brought_to(const std::shared_ptr<const Image>& image, int width, int height, bool grey) {
  if (!image) return std::nullopt;
  Image made = image->width == width && image->height == height
                   ? *image
                   : resize_lanczos(grey ? to_grey(*image) : to_rgb(*image), width, height);
  return grey ? to_grey(std::move(made)) : to_rgb(std::move(made));
}

UnitKind kind_of(std::string_view next) {
  if (next == "encode") return UnitKind::encode;
  if (next == "decode") return UnitKind::decode;
  return next == "done" ? UnitKind::done : UnitKind::step;
}

// A flag that is up while this lives.
class Raised {
 public:
  explicit Raised(bool& flag) : flag_(flag) { flag_ = true; }
  ~Raised() { flag_ = false; }
  Raised(const Raised&) = delete;
  Raised& operator=(const Raised&) = delete;

 private:
  bool& flag_;
};

// One picture: a row of the worker's, of one generation.
class WorkerRow final : public Row {
 public:
  WorkerRow(Worker& worker, std::uint64_t generation, std::uint64_t number, Unit first, int steps)
      : worker_(worker), generation_(generation), number_(number), next_(first), steps_(steps) {}
  ~WorkerRow() override {
    if (next_.kind != UnitKind::done) static_cast<void>(ask("drop"));
  }
  WorkerRow(const WorkerRow&) = delete;
  WorkerRow& operator=(const WorkerRow&) = delete;

  Unit next() const override { return next_; }
  int step() const override { return step_; }
  int steps() const override { return steps_; }

  // One unit. A failure is kept: the row is done, and its picture is the error.
  // It says so in `busy` while the process is at it.
  void run(bool& busy) {
    auto answer = [&] {
      const Raised raised(busy);
      return ask("run");
    }();
    if (!answer) return end(std::move(answer).error());
    if (!read(answer->header)) return end({ErrorCode::internal, "The model failed on this request.", {}, {}});
    if (next_.kind != UnitKind::done) return;
    image_.pixels = std::move(answer->blob);
    if (image_.pixels.size() != image_.stride() * static_cast<std::size_t>(image_.height))
      end({ErrorCode::internal, "The model failed on this request.", {}, {}});
    else
      worker_.forgive();
  }

  Result<Image> take() {
    if (error_) return tl::unexpected(*error_);
    return std::move(image_);
  }

 private:
  Result<Message> ask(const char* what) {
    return worker_.ask(generation_, {{"ask", what}, {"row", number_}});
  }

  void end(Error error) {
    next_.kind = UnitKind::done;
    error_ = std::move(error);
  }

  bool read(const json::object& answer) {
    try {
      next_.kind = kind_of(answer.at("next").as_string());
      step_ = answer.at("step").to_number<int>();
      steps_ = answer.at("steps").to_number<int>();
      if (next_.kind != UnitKind::done) return true;
      image_ = {.width = answer.at("width").to_number<int>(),
                .height = answer.at("height").to_number<int>(),
                .channels = 3,
                .pixels = {}};
      return image_.width > 0 && image_.height > 0;
    } catch (const std::exception&) {  // Boost.JSON's accessors
      return false;
    }
  }

  Worker& worker_;
  const std::uint64_t generation_, number_;
  Unit next_;
  int step_ = 0, steps_;
  std::optional<Error> error_;
  Image image_;
};

class DiffusersPipeline final : public Pipeline {
 public:
  explicit DiffusersPipeline(std::unique_ptr<Worker> worker)
      : worker_(std::move(worker)), model_(worker_->description()), info_(model_.info) {
    info_.networks = {{next_network_id(), model_.resident_bytes}};
  }

  const PipelineInfo& info() const override { return info_; }

  Result<GenerateRequest> resolve(GenerateRequest request) const override {
    TRY_VOID(worker_->check_ready());
    return resolve_request(model_, std::move(request));
  }

  double cost_flops(const GenerateRequest& resolved) const override {
    return static_cast<double>(resolved.n()) * work_of(model_, resolved).picture_flops;
  }

  double unit_flops(const GenerateRequest& resolved) const override {
    const PictureWork work = work_of(model_, resolved);
    return model_.form_for(resolved)->steps ? work.step_flops : work.picture_flops;
  }

  Result<std::unique_ptr<Row>> begin(const GenerateRequest& resolved, std::size_t image_index) override {
    const auto picture = brought_to(resolved.init_image, *resolved.width, *resolved.height, /*grey=*/false);
    const auto mask = brought_to(resolved.mask, *resolved.width, *resolved.height, /*grey=*/true);
    const std::uint64_t generation = worker_->generation(), number = ++rows_;
    json::object question{
        {"ask", "begin"}, {"row", number}, {"request", call_arguments(model_, resolved, image_index)}};
    Channel::Bytes picture_bytes, mask_bytes;
    if (picture) {
      question["picture"] = json::array{picture->width, picture->height};
      picture_bytes = picture->pixels;
    }
    if (mask) {
      question["mask"] = json::array{mask->width, mask->height};
      mask_bytes = mask->pixels;
    }
    TRY_VOID(worker_->ask(generation, question, {picture_bytes, mask_bytes}).map([](const Message&) {}));
    const bool steps = model_.form_for(resolved)->steps;
    const Unit first{.kind = steps ? UnitKind::encode : UnitKind::step,
                     .key = key_of(resolved),
                     .cost_flops = unit_flops(resolved),
                     .alone = true};
    return std::make_unique<WorkerRow>(*worker_, generation, number, first,
                                       steps ? *resolved.num_inference_steps : 1);
  }

  // The process answers one question at a time.
  bool busy() const override { return busy_; }

  void run(std::span<Row* const> rows) override {
    for (Row* const row : rows) static_cast<WorkerRow*>(row)->run(busy_);
  }

  Result<bool> finish_early(Row&) override { return false; }  // nobody knows what it would be

  Result<Image> preview(const Row&) const override {
    return fail(ErrorCode::unsupported, "there are no previews of pipelines in Diffusers");
  }

  Result<Image> take(Row& row) override { return static_cast<WorkerRow&>(row).take(); }

 private:
  // Requests whose units take as long as each other's.
  std::uint64_t key_of(const GenerateRequest& request) const {
    return std::hash<std::string>()(fmt::format("{}x{} {} {}", *request.width, *request.height,
                                                request.init_image != nullptr, request.mask != nullptr));
  }

  const std::unique_ptr<Worker> worker_;
  const Description& model_;
  PipelineInfo info_;
  // The device thread's:
  std::uint64_t rows_ = 0;  // begun so far
  bool busy_ = false;
};

}  // namespace

Result<std::unique_ptr<Pipeline>> load_pipeline(WorkerOptions options) {
  const std::string folder = options.folder.string();
  try {
    TRY(auto worker, Worker::start(std::move(options)));
    return std::make_unique<DiffusersPipeline>(std::move(worker));
  } catch (const std::exception&) {  // no thread, or no memory
    return fail(ErrorCode::out_of_memory, fmt::format("{}: not enough memory to load the model", folder),
                folder);
  }
}

}  // namespace diffused::diffusers
