#include "engine/cost_model.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace diffused::engine {
namespace {

constexpr double kNewSampleWeight = 0.2;  // of the exponentially weighted mean
constexpr double kRateDecay = 0.98;       // per unit: the rate remembers about fifty units
constexpr int kSamplesPerSize = 3;        // measurements of a batch size before it is judged
constexpr double kGrowthGain = 0.05;      // a doubled batch must make each row this much cheaper
constexpr int kUnitsUntilRetry = 512;     // a settled limit is tried again after so many units
constexpr std::size_t kCurvesMax = 1024;  // keys remembered: clients choose sizes, so they are bounded
constexpr double kSecondsMin = 1e-6;      // keeps estimates positive where the clock saw nothing pass

}  // namespace

CostModel::CostModel(std::size_t batch_rows_max, double initial_flops_per_second)
    : batch_rows_max_(std::bit_floor(batch_rows_max)), initial_flops_per_second_(initial_flops_per_second) {
  CHECK(batch_rows_max_ >= 1);
  CHECK(initial_flops_per_second_ > 0);
}

double CostModel::seconds(const BatchKey& key, double flops, std::size_t rows) const {
  const auto found = curves_.find(key);
  if (found == curves_.end() || found->second.by_rows.empty()) {
    const auto known = rates_.find({key.model, key.kind});
    const double per_flop = known == rates_.end() ? seconds_per_flop(key.model) : rate(known->second);
    return std::max(kSecondsMin, flops * static_cast<double>(rows) * per_flop);
  }
  const auto& by_rows = found->second.by_rows;
  auto nearest = by_rows.upper_bound(rows);
  if (nearest != by_rows.begin()) --nearest;  // the largest size seen up to `rows`, else the smallest
  return nearest->second.seconds * static_cast<double>(rows) / static_cast<double>(nearest->first);
}

std::size_t CostModel::batch_limit(const BatchKey& key) const {
  const auto found = curves_.find(key);
  return found == curves_.end() ? 1 : found->second.limit;
}

double CostModel::seconds_per_flop(std::size_t model) const {
  const auto known = model_rates_.find(model);
  return known == model_rates_.end() ? 1 / initial_flops_per_second_ : rate(known->second);
}

double CostModel::rate(const Rate& measured) const {
  return measured.flops > 0 ? measured.seconds / measured.flops : 1 / initial_flops_per_second_;
}

void CostModel::measured(const BatchKey& key, double flops, std::size_t rows, double seconds) {
  seconds = std::max(seconds, kSecondsMin);
  const auto book = [&](Rate& rate) {
    rate.flops = rate.flops * kRateDecay + flops * static_cast<double>(rows);
    rate.seconds = rate.seconds * kRateDecay + seconds;
  };
  book(rates_[{key.model, key.kind}]);
  if (key.kind != UnitKind::encode) book(model_rates_[key.model]);
  Curve& curve = this->curve(key);
  Mean& mean = curve.by_rows[rows];
  mean.seconds = mean.samples < 2 ? seconds : mean.seconds + kNewSampleWeight * (seconds - mean.seconds);
  ++mean.samples;
  search_limit(curve, rows);
}

void CostModel::too_large(const BatchKey& key, std::size_t rows) {
  Curve& curve = this->curve(key);
  curve.ceiling = std::max<std::size_t>(1, std::bit_floor(rows / 2));
  curve.limit = std::min(curve.limit, curve.ceiling);
  curve.settled = true;
}

void CostModel::search_limit(Curve& curve, std::size_t rows) {
  if (curve.settled) {
    if (++curve.units_since_settled < kUnitsUntilRetry) return;
    curve.settled = false;
    curve.by_rows.erase(std::min(curve.limit * 2, curve.ceiling));  // to be measured afresh
  }
  const auto present = curve.by_rows.find(curve.limit);
  if (rows != curve.limit || present == curve.by_rows.end() || present->second.samples < kSamplesPerSize)
    return;

  const auto half = curve.by_rows.find(curve.limit / 2);
  const auto per_row = [](const auto& entry) {
    return entry->second.seconds / static_cast<double>(entry->first);
  };
  const bool pays = half == curve.by_rows.end() || per_row(present) <= (1 - kGrowthGain) * per_row(half);
  curve.settled = !pays || curve.limit == curve.ceiling;
  curve.units_since_settled = 0;
  if (!pays)
    curve.limit /= 2;
  else
    curve.limit = std::min(curve.limit * 2, curve.ceiling);
}

CostModel::Curve& CostModel::curve(const BatchKey& key) {
  if (curves_.size() >= kCurvesMax && !curves_.contains(key)) {
    curves_.erase(std::min_element(curves_.begin(), curves_.end(), [](const auto& a, const auto& b) {
      return a.second.last_used < b.second.last_used;
    }));
  }
  const auto [entry, is_new] = curves_.try_emplace(key);
  if (is_new) entry->second.ceiling = batch_rows_max_;
  entry->second.last_used = ++units_;
  return entry->second;
}

}  // namespace diffused::engine
