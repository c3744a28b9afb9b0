// The interface between the engine and the networks. Nothing in it is torch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "job/job.h"

namespace diffused {

// The kinds of device work. A row goes encode → step × N → decode × M → done; encode is left out when its
// prompt's embeddings are at hand, and a decode is cut into units that are no longer than a step.
enum class UnitKind { encode, step, decode, done };

// What a row needs next.
struct Unit {
  UnitKind kind = UnitKind::done;
  // Rows with equal kind and key may run together: same network, latent shape, token count, guidance form.
  std::uint64_t key = 0;
  // Estimated floating point operations of this unit for this row alone; relative weight, not a promise.
  double cost_flops = 0;
  bool alone = false;  // it shares its unit with no other row
};

// One picture in flight. Made by Pipeline::begin, used and destroyed on the device thread only.
class Row {
 public:
  virtual ~Row() = default;
  virtual Unit next() const = 0;
  // Denoising steps done and in all, for progress.
  virtual int step() const = 0;
  virtual int steps() const = 0;
  // Of the steps done, those that were not made: GenerateRequest::cache.
  virtual int steps_skipped() const { return 0; }
};

// What a pipeline has counted since it was loaded, for metrics.
struct PipelineStats {
  std::uint64_t prompt_cache_hits = 0;    // prompts whose embedding was at hand
  std::uint64_t prompt_cache_misses = 0;  // prompts that were encoded
  std::uint64_t prompt_cache_bytes = 0;   // embeddings held now
  std::uint64_t steps_skipped = 0;        // denoising steps that were not made
  std::uint64_t weight_bytes = 0;         // that it uses now: 0 while the model is not loaded
};

// One loaded model. The weights are shared and immutable; everything that changes is in the rows.
class Pipeline {
 public:
  virtual ~Pipeline() = default;

  // Any thread; never fails.
  virtual const PipelineInfo& info() const = 0;

  // Any thread; never fails.
  virtual PipelineStats stats() const { return {}; }

  // Fills in the model's defaults and refuses what the model cannot do: sizes that are no multiple or too
  // large, unknown schedulers, n of zero. Error: invalid_argument or unsupported, with the field. Pure; any
  // thread.
  virtual Result<GenerateRequest> resolve(GenerateRequest request) const = 0;

  // Estimated floating point operations of a resolved request, all its pictures. Pure; any thread.
  virtual double cost_flops(const GenerateRequest& resolved) const = 0;

  // Estimated floating point operations of the longest unit of one of its pictures, for as far as that
  // depends on the request. Pure; any thread.
  virtual double unit_flops(const GenerateRequest& resolved) const = 0;

  // Tokenizes the prompt and draws the noise for picture `image_index` of a resolved request. Device thread
  // only.
  virtual Result<std::unique_ptr<Row>> begin(const GenerateRequest& resolved, std::size_t image_index) = 0;

  // Runs the next unit of each row; all have equal Unit::kind and Unit::key, any timesteps. On the CPU a
  // row's result does not depend on the other rows. Device thread only. May throw std::bad_alloc when the
  // device or the host is short of memory, and anything derived from std::exception: then each of these rows
  // has either done the unit or is as it was before (compute first, then assign), for the engine runs several
  // rows again one by one, so that only the row at fault is dropped.
  virtual void run(std::span<Row* const> rows) = 0;

  // Ends the row's denoising: what it would be without noise, by its latest step's guess, is decoded next.
  // False when there is no such guess yet, and the row is as it was. May throw as run does. Device thread
  // only.
  virtual Result<bool> finish_early(Row& row) = 0;

  // A cheap picture of the present latents: a small one (latent → RGB, no decoder), or, where the model has a
  // tiny decoder, one in full size. Device thread only.
  virtual Result<Image> preview(const Row& row) const = 0;

  // The finished picture; once, when next() says done. Device thread only.
  virtual Result<Image> take(Row& row) = 0;
};

}  // namespace diffused
