// What a unit costs in seconds, and how many rows are worth running together: measured in real work, never
// assumed.
//
// Estimates. For each (batch key, rows) an exponentially weighted mean of the measured seconds; the second
// measurement replaces the first, which pays for warming up. A number of rows not yet seen is taken to cost
// the same per row as the nearest one seen; a key not yet seen costs its FLOPs at the rate measured for its
// model and kind of unit.
//
// Largest useful batch. There is no measurement at start, so start is not delayed. A key begins with one row
// a unit; after three units at the present limit it is doubled if the last doubling made a row at least
// kGrowthGain cheaper, else it goes back to half and stays. Each unit of the search is work that had to be
// done; a settled limit is tried again after kUnitsUntilRetry units, as machines change. A batch that ran out
// of memory is a ceiling for good.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

#include "job/pipeline.h"

namespace diffused::engine {

// Rows with equal batch key share a forward pass.
struct BatchKey {
  std::size_t model = 0;
  UnitKind kind = UnitKind::done;
  std::uint64_t key = 0;
  auto operator<=>(const BatchKey&) const = default;
};

// One thread at a time (the device thread).
class CostModel {
 public:
  // `batch_rows_max` >= 1 is rounded down to a power of two.
  CostModel(std::size_t batch_rows_max, double initial_flops_per_second);

  // Estimated seconds of one unit of `rows` rows of `flops` each; > 0.
  double seconds(const BatchKey& key, double flops, std::size_t rows) const;

  // How many rows of this key may share a unit now; >= 1.
  std::size_t batch_limit(const BatchKey& key) const;

  // Seconds a floating point operation takes on this model, over steps and decodes and batches as they come.
  // Not over encodes: a short prompt takes long for its few operations, and a model's first unit is one.
  double seconds_per_flop(std::size_t model) const;

  // A unit of `rows` rows of `flops` each took `seconds`.
  void measured(const BatchKey& key, double flops, std::size_t rows, double seconds);

  // A unit of `rows` rows did not fit into memory.
  void too_large(const BatchKey& key, std::size_t rows);

 private:
  struct Mean {
    double seconds = 0;
    int samples = 0;
  };
  struct Curve {
    std::map<std::size_t, Mean> by_rows;
    std::size_t limit = 1;
    std::size_t ceiling = 1;
    bool settled = false;
    int units_since_settled = 0;
    std::uint64_t last_used = 0;
  };
  struct Rate {
    double flops = 0;
    double seconds = 0;
  };
  double rate(const Rate& measured) const;
  Curve& curve(const BatchKey& key);
  static void search_limit(Curve& curve, std::size_t rows);

  std::size_t batch_rows_max_;
  double initial_flops_per_second_;
  std::map<BatchKey, Curve> curves_;
  std::map<std::pair<std::size_t, UnitKind>, Rate> rates_;  // by model and kind
  std::map<std::size_t, Rate> model_rates_;
  std::uint64_t units_ = 0;
};

}  // namespace diffused::engine
