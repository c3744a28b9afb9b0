// A Pipeline without networks: pictures are a hash of the request, time is what the test says it is, and
// faults can be put anywhere. It holds its caller to the contract of job/pipeline.h: one device thread, rows
// of equal key, no unit after the last. For tests of the engine and the api, and for measuring the server
// without a model.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "job/pipeline.h"

namespace diffused::test {

inline std::uint64_t mix(std::uint64_t state,
                         std::uint64_t value) {  // SplitMix64's finalizer over a running sum
  state += 0x9e3779b97f4a7c15ULL + value;
  state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ULL;
  state = (state ^ (state >> 27)) * 0x94d049bb133111ebULL;
  return state ^ (state >> 31);
}

inline std::uint64_t mix(std::uint64_t state, std::string_view text) {
  for (const char c : text) state = mix(state, static_cast<unsigned char>(c));
  return mix(state, text.size());
}

class FakeRow final : public Row {
 public:
  FakeRow(GenerateRequest resolved, std::size_t index, bool encode, std::atomic<int>& live_rows)
      : request(std::move(resolved)),
        image_index(index),
        kind_(encode ? UnitKind::encode : UnitKind::step),
        live_rows_(live_rows) {
    state_ = mix(mix(request.seeds[image_index], request.prompt), request.negative_prompt.value_or(""));
    state_ = mix(mix(state_, pixels()), static_cast<std::uint64_t>(*request.guidance_scale * 1000));
    for (const LoraChoice& lora : request.loras)
      state_ = mix(mix(state_, lora.name), static_cast<std::uint64_t>(std::llround(lora.weight * 1000)));
    ++live_rows_;
  }
  ~FakeRow() override { --live_rows_; }

  Unit next() const override {
    const double share = kind_ == UnitKind::encode ? 0.2 : kind_ == UnitKind::decode ? 1.5 : 1.0;
    const std::uint64_t size = static_cast<std::uint64_t>(*request.width) << 32 | *request.height;
    return {kind_, kind_ == UnitKind::encode ? 0 : size, share * 1e6 * static_cast<double>(pixels()), alone};
  }
  int step() const override { return step_; }
  int steps() const override { return *request.num_inference_steps; }
  int steps_skipped() const override { return steps_skipped_; }
  std::uint64_t pixels() const { return static_cast<std::uint64_t>(*request.width) * *request.height; }

  // One unit: never fails, so that a row has either done it or not.
  void advance() {
    CHECK(kind_ != UnitKind::done);
    if (kind_ == UnitKind::encode) {
      kind_ = UnitKind::step;
    } else if (kind_ == UnitKind::step) {
      state_ = mix(state_, static_cast<std::uint64_t>(++step_));
      // With a cache, one in two is skipped.
      if (request.cache && request.cache->on() && step_ + 1 < steps()) ++step_, ++steps_skipped_;
      if (step_ == steps()) kind_ = UnitKind::decode;
    } else {
      kind_ = UnitKind::done;
    }
  }

  // A row without a step has nothing to show.
  bool finish_early() {
    if (kind_ == UnitKind::step && step_ > 0) kind_ = UnitKind::decode;
    return kind_ == UnitKind::decode || kind_ == UnitKind::done;
  }

  Image image(int width, int height) const {
    Image image{width, height, 3, {}};
    image.pixels.resize(image.stride() * static_cast<std::size_t>(height));
    std::uint64_t word = state_;
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      if (i % 8 == 0) word = mix(word, i);
      image.pixels[i] = static_cast<std::uint8_t>(word >> (i % 8 * 8));
    }
    return image;
  }

  const GenerateRequest request;
  const std::size_t image_index;
  bool alone = false;  // as Unit::alone

 private:
  UnitKind kind_;
  int step_ = 0, steps_skipped_ = 0;
  std::uint64_t state_ = 0;
  std::atomic<int>& live_rows_;
};

// A unit about to run, for the hooks.
struct FakeUnit {
  UnitKind kind = UnitKind::done;
  std::vector<const FakeRow*> rows;
  std::uint64_t pixels() const { return rows.front()->pixels(); }
};

// Seconds a unit takes: `step` for a step of one row of 256x256, in proportion to pixels; each further row
// adds `per_row` of that (1: batching gains nothing). Encoding takes a fifth of a 256x256 step, decoding 1.5
// steps.
inline std::function<double(const FakeUnit&)> fake_costs(double step_seconds, double per_row = 0.6) {
  return [=](const FakeUnit& unit) {
    const double one = unit.kind == UnitKind::encode
                           ? 0.2 * step_seconds
                           : (unit.kind == UnitKind::decode ? 1.5 : 1.0) * step_seconds *
                                 static_cast<double>(unit.pixels()) / (256.0 * 256.0);
    return one * (1 + per_row * static_cast<double>(unit.rows.size() - 1));
  };
}

struct FakeOptions {
  bool encode = true;
  bool alone = false;  // its rows share no unit
  int default_steps = 4;
  int default_side = 64;  // pixels
  std::vector<std::string> loras = {"cute", "ink"};
  std::vector<NetworkWeights> networks = {};
  // How long a unit takes, and what passing that time means: turning a fake clock; in a benchmark, sleeping.
  std::function<double(const FakeUnit&)> seconds = fake_costs(0.01);
  std::function<void(double)> pass = [](double) {};
  // Looks at a unit, or at a row within it, before it runs. May throw, and may block until the test lets go.
  std::function<void(const FakeUnit&)> before_unit = [](const FakeUnit&) {};
  std::function<void(const FakeRow&)> before_row = [](const FakeRow&) {};
  // The other device calls; an Error is handed on, and they may throw as well.
  std::function<Result<void>(const GenerateRequest&, std::size_t)> before_begin =
      [](const GenerateRequest&, std::size_t) { return Result<void>(); };
  std::function<Result<void>(const FakeRow&)> before_preview = [](const FakeRow&) { return Result<void>(); };
  std::function<Result<void>(const FakeRow&)> before_take = [](const FakeRow&) { return Result<void>(); };
};

class FakePipeline final : public Pipeline {
 public:
  explicit FakePipeline(FakeOptions options = {}) : options_(std::move(options)) {
    info_.class_name = "FakePipeline";
    info_.dtype = "fp32";
    info_.device = "cpu";
    info_.default_width = info_.default_height = options_.default_side;
    info_.size_multiple = 8;
    info_.max_side = 4096;
    info_.default_steps = options_.default_steps;
    info_.default_guidance_scale = 5;
    info_.schedulers = {"FakeScheduler"};
    info_.loras = options_.loras;
    info_.networks = options_.networks;
    info_.image_to_image = info_.inpaint = true;
  }
  ~FakePipeline() override { CHECK(live_rows_ == 0); }

  const PipelineInfo& info() const override { return info_; }

  Result<GenerateRequest> resolve(GenerateRequest request) const override {
    request.width = request.width.value_or(info_.default_width);
    request.height = request.height.value_or(info_.default_height);
    request.num_inference_steps = request.num_inference_steps.value_or(info_.default_steps);
    request.guidance_scale = request.guidance_scale.value_or(info_.default_guidance_scale);
    for (const int side : {*request.width, *request.height})
      if (side < 8 || side > info_.max_side || side % info_.size_multiple != 0)
        return fail(ErrorCode::invalid_argument, "width and height must be multiples of 8, up to 4096",
                    "size");
    if (request.n() == 0) return fail(ErrorCode::invalid_argument, "n must be at least 1", "n");
    if (*request.num_inference_steps < 1)
      return fail(ErrorCode::invalid_argument, "there must be at least one step", "num_inference_steps");
    for (const LoraChoice& lora : request.loras)
      if (std::ranges::count(info_.loras, lora.name) == 0)
        return fail(ErrorCode::invalid_argument, "there is no LoRA " + lora.name, "loras");
    return request;
  }

  double cost_flops(const GenerateRequest& resolved) const override {
    const double pixels = static_cast<double>(*resolved.width) * *resolved.height;
    const double units = (options_.encode ? 0.2 : 0.0) + *resolved.num_inference_steps + 1.5;
    return 1e6 * pixels * units * static_cast<double>(resolved.n());
  }

  double unit_flops(const GenerateRequest& resolved) const override {
    return 1.5e6 * static_cast<double>(*resolved.width) * *resolved.height;
  }

  Result<std::unique_ptr<Row>> begin(const GenerateRequest& resolved, std::size_t image_index) override {
    on_device_thread();
    TRY_VOID(options_.before_begin(resolved, image_index));
    auto row = std::make_unique<FakeRow>(resolved, image_index, options_.encode, live_rows_);
    row->alone = options_.alone;
    return row;
  }

  void run(std::span<Row* const> rows) override {
    on_device_thread();
    CHECK(!rows.empty());
    FakeUnit unit{rows.front()->next().kind, {}};
    for (const Row* row : rows) {
      CHECK(row->next().kind == unit.kind && row->next().key == rows.front()->next().key);
      unit.rows.push_back(static_cast<const FakeRow*>(row));
    }
    options_.before_unit(unit);
    options_.pass(options_.seconds(unit));
    for (Row* row : rows) {
      options_.before_row(static_cast<const FakeRow&>(*row));
      static_cast<FakeRow*>(row)->advance();
    }
  }

  Result<bool> finish_early(Row& row) override {
    on_device_thread();
    return static_cast<FakeRow&>(row).finish_early();
  }

  Result<Image> preview(const Row& row) const override {
    on_device_thread();
    TRY_VOID(options_.before_preview(static_cast<const FakeRow&>(row)));
    return static_cast<const FakeRow&>(row).image(8, 8);
  }

  Result<Image> take(Row& row) override {
    on_device_thread();
    const auto& done = static_cast<const FakeRow&>(row);
    CHECK(done.next().kind == UnitKind::done);
    TRY_VOID(options_.before_take(done));
    return done.image(*done.request.width, *done.request.height);
  }

  // Rows begun and not yet destroyed. Any thread.
  int live_rows() const { return live_rows_; }

  // The picture this request must come out as, whatever else ran beside it.
  Image expected(const GenerateRequest& request, std::size_t image_index) const {
    std::atomic<int> uncounted = 0;
    FakeRow row(*resolve(request), image_index, options_.encode, uncounted);
    while (row.next().kind != UnitKind::done) row.advance();
    return row.image(*row.request.width, *row.request.height);
  }

 private:
  void on_device_thread() const {
    auto none = std::thread::id();
    device_thread_.compare_exchange_strong(none, std::this_thread::get_id());
    CHECK(device_thread_.load() == std::this_thread::get_id());
  }

  FakeOptions options_;
  PipelineInfo info_;
  mutable std::atomic<std::thread::id> device_thread_{};
  std::atomic<int> live_rows_ = 0;
};

}  // namespace diffused::test
