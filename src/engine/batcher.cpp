#include "engine/batcher.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <tuple>

#include "base/check.h"

namespace diffused::engine {
namespace {

// How much more than alone a shared unit may cost a row's flow. Above 1, because a batch that is a little
// dearer for one and much cheaper for the others is worth having.
constexpr double kCompanyPrice = 1.25;
// How far ahead of the leader a flow may be and still join it, in units at the leader's price.
constexpr double kAheadUnits = 16;
// Users whose pictures take no more than so many times the least are as light as that one. Above 1, because
// equal requests differ in their estimates.
constexpr double kLightFactor = 2;
// Less than this is nothing.
constexpr double kRoundingSeconds = 1e-9;
// How many flows that left while ahead are remembered.
constexpr std::size_t kRemembered = 64;

// Gives each flow its part of its user's weight.
void weigh(std::span<const RowDescription> rows, Turns& turns) {
  std::map<std::string_view, double> seconds_of_user;  // of those who are here
  for (const RowDescription& row : rows) seconds_of_user[row.flow.user] += row.picture_seconds;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [user, seconds] : seconds_of_user) least = std::min(least, seconds);
  std::map<std::string_view, int> flows_of_user;
  for (const auto& [flow, standing] : turns.ledger) ++flows_of_user[flow.user];

  const auto is_light = [&](std::string_view user) {
    const auto found = seconds_of_user.find(user);
    return found != seconds_of_user.end() && found->second <= kLightFactor * least;
  };
  const auto light = static_cast<double>(
      std::ranges::count_if(seconds_of_user, [&](const auto& entry) { return is_light(entry.first); }));
  const double heavy = static_cast<double>(flows_of_user.size()) - light;
  const double light_weight = light > 0 ? std::max(1.0, heavy / light) : 1;
  for (auto& [flow, standing] : turns.ledger)
    standing.weight = (is_light(flow.user) ? light_weight : 1) / flows_of_user[flow.user];
}

// Takes note of who is here. Newcomers start even; of those gone only the ones that are ahead stay, the
// furthest ahead if they are many.
void call_the_roll(std::span<const RowDescription> rows, Turns& turns) {
  for (auto& [flow, standing] : turns.ledger) standing.rows = 0;
  for (const RowDescription& row : rows) ++turns.ledger[row.flow].rows;

  std::vector<double> gone;
  std::erase_if(turns.ledger, [&](const auto& entry) {
    const Standing& standing = entry.second;
    if (standing.rows > 0) return false;
    gone.push_back(standing.owed_seconds);
    if (standing.owed_seconds < 0) return false;
    turns.uncredited_seconds += standing.owed_seconds;  // shared out among those who stay
    return true;
  });
  std::erase_if(gone, [](double owed) { return owed >= 0; });
  if (gone.size() > kRemembered) {
    std::nth_element(gone.begin(), gone.begin() + kRemembered, gone.end());
    const double least_ahead = gone[kRemembered];
    std::erase_if(turns.ledger, [&](const auto& entry) {
      return entry.second.rows == 0 && entry.second.owed_seconds >= least_ahead;
    });
  }

  weigh(rows, turns);
}

// Credits the seconds of the last unit to everyone in the ledger, by weight.
void credit(Turns& turns) {
  double weights = 0;
  for (const auto& [flow, standing] : turns.ledger) weights += standing.weight;
  for (auto& [flow, standing] : turns.ledger)
    standing.owed_seconds += turns.uncredited_seconds * standing.weight / weights;
  turns.uncredited_seconds = 0;
}

// Rows as they are to be heard.
struct Line {
  std::vector<std::size_t> order;
  std::vector<const Standing*> standing;  // of each row
};

// Whether the flow has had no more than its part. Sums of fractions are never quite zero.
bool is_even(const Standing& standing) { return standing.owed_seconds > -kRoundingSeconds; }

// When each flow's next unit, of the row that has waited longest, would be done if the flow had its part of
// the device from now on; less what it is owed.
std::map<Flow, double> finishes(std::span<const RowDescription> rows, const CostModel& costs,
                                const Turns& turns) {
  std::map<Flow, const RowDescription*> next;
  for (const RowDescription& row : rows) {
    if (row.readiness != Readiness::ready) continue;
    const RowDescription*& first = next[row.flow];
    if (first == nullptr || row.last_turn < first->last_turn) first = &row;
  }
  std::map<Flow, double> made;
  for (const auto& [flow, row] : next) {
    const Standing& standing = turns.ledger.at(flow);
    made[flow] = costs.seconds(row->unit, row->flops, 1) / standing.weight - standing.urgency();
  }
  return made;
}

Line line_up(std::span<const RowDescription> rows, const CostModel& costs, Turns& turns) {
  call_the_roll(rows, turns);
  credit(turns);
  Line line;
  line.standing.resize(rows.size());
  const std::map<Flow, double> finish = finishes(rows, costs, turns);
  std::vector<std::tuple<bool, double, std::uint64_t, std::size_t>> places;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Standing& standing = *(line.standing[i] = &turns.ledger.at(rows[i].flow));
    if (rows[i].readiness != Readiness::ready) continue;
    const bool even = is_even(standing);
    places.emplace_back(!even, even ? finish.at(rows[i].flow) : -standing.urgency(), rows[i].last_turn, i);
  }
  std::ranges::sort(places);
  for (const auto& place : places) line.order.push_back(std::get<3>(place));
  return line;
}

// The first in line and those that join it.
std::vector<std::size_t> gather(std::span<const RowDescription> rows, const Line& line,
                                const CostModel& costs, double unit_seconds_max) {
  const auto& [order, standing] = line;
  const RowDescription& leader = rows[order.front()];
  const Standing& leading = *standing[order.front()];
  const double seconds_alone = costs.seconds(leader.unit, leader.flops, 1);
  const double least_urgency = leading.urgency() - kAheadUnits * seconds_alone / leading.row_weight();
  const std::size_t limit = leader.alone ? 1 : costs.batch_limit(leader.unit);

  std::vector<std::size_t> batch;
  double weight = 0, heaviest = 0;  // of the rows in the batch; the heaviest pays the least alone
  for (const std::size_t i : order) {
    if (batch.size() == limit) break;
    if (standing[i]->urgency() < least_urgency) continue;
    if (rows[i].unit != leader.unit || (rows[i].alone && !batch.empty())) continue;
    const double joint_weight = weight + standing[i]->row_weight();
    const double joint_heaviest = std::max(heaviest, standing[i]->row_weight());
    const double joint_seconds = costs.seconds(leader.unit, leader.flops, batch.size() + 1);
    if (!batch.empty() && joint_seconds > unit_seconds_max) break;
    const double price = joint_seconds / joint_weight;
    if (!batch.empty() && price > kCompanyPrice * seconds_alone / joint_heaviest) continue;
    batch.push_back(i);
    weight = joint_weight;
    heaviest = joint_heaviest;
  }
  return batch;
}

}  // namespace

std::vector<std::size_t> plan(std::span<const RowDescription> rows, const CostModel& costs, Turns& turns,
                              double unit_seconds_max) {
  CHECK(!rows.empty());
  CHECK(std::ranges::all_of(rows, [](const auto& row) { return row.readiness == Readiness::ready; }));
  const Line line = line_up(rows, costs, turns);
  ++turns.count;
  return gather(rows, line, costs, unit_seconds_max);
}

std::vector<std::size_t> plan_inside(std::span<const RowDescription> rows, const CostModel& costs,
                                     Turns& turns, double unit_seconds_max) {
  Line line = line_up(rows, costs, turns);
  const auto may_share_the_next = [&](const RowDescription& row) {
    return std::ranges::any_of(rows, [&](const RowDescription& other) {
      return other.readiness == Readiness::running && other.unit == row.unit;
    });
  };
  std::erase_if(line.order, [&](std::size_t i) {
    return line.standing[i]->owed_seconds < kRoundingSeconds || may_share_the_next(rows[i]) ||
           costs.seconds(rows[i].unit, rows[i].flops, 1) > unit_seconds_max;
  });
  if (line.order.empty()) return {};
  ++turns.count;
  return gather(rows, line, costs, unit_seconds_max);
}

void charge(std::span<const Flow> members, double seconds, Turns& turns) {
  double weights = 0;
  for (const Flow& flow : members) weights += turns.ledger.at(flow).row_weight();
  for (const Flow& flow : members) {
    Standing& standing = turns.ledger.at(flow);
    standing.owed_seconds -= seconds * standing.row_weight() / weights;
  }
  turns.uncredited_seconds += seconds;
}

}  // namespace diffused::engine
