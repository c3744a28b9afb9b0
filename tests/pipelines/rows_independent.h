// The law that a picture's bytes depend on its request alone.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "pipelines/tiny_model.h"

namespace diffused::pipelines {

// Request number i of a mix whose rows may share a batch: each has another seed, number of steps, scale and
// sampler, and every third one starts from a picture, or from one with a mask.
inline GenerateRequest vary(GenerateRequest request, int i, std::span<const char* const> schedulers) {
  request.seeds = {static_cast<std::uint64_t>(100 + i)};
  request.num_inference_steps = 3 + 2 * i;
  request.guidance_scale = 2.0 + i;
  request.scheduler = schedulers[static_cast<std::size_t>(i) % schedulers.size()];
  if (i % 3 == 1) start_from_picture(request, 40 + i, 64);
  if (i % 3 == 2) start_from_picture(request, 64, 50 + i, /*with_mask=*/true);
  return request;
}

// The key of a request's first step, by which rows share a forward pass.
inline std::uint64_t first_step_key(Pipeline& pipeline, const GenerateRequest& request) {
  const auto row = begin(pipeline, request);
  run_unit(pipeline, *row);
  EXPECT_EQ(row->next().kind, UnitKind::step);
  return row->next().key;
}

// Whether each picture has the same bytes drawn alone as in a batch that others join and leave at every step.
inline void expect_rows_independent(Pipeline& pipeline, const std::vector<GenerateRequest>& requests) {
  std::vector<Image> alone;
  for (const auto& request : requests) alone.push_back(picture(pipeline, request));

  std::vector<std::unique_ptr<Row>> rows;
  for (const auto& request : requests) rows.push_back(begin(pipeline, request));
  const auto unfinished = [](const auto& row) { return row->next().kind != UnitKind::done; };
  for (std::size_t round = 0; std::ranges::any_of(rows, unfinished); ++round) {
    std::vector<Row*> batch;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      // Row i joins in round 2 i; encoding and decoding happen one by one.
      const UnitKind kind = rows[i]->next().kind;
      if (round < 2 * i || kind == UnitKind::done) continue;
      if (kind == UnitKind::step) batch.push_back(rows[i].get());
      if (kind != UnitKind::step) run_unit(pipeline, *rows[i]);
    }
    if (!batch.empty()) pipeline.run(batch);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(pipeline.take(*rows[i]).value().pixels, alone[i].pixels) << i;
  }
}

}  // namespace diffused::pipelines
