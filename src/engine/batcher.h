// The policy: who runs next. A pure function over row descriptions and measured costs; no torch, no clock, no
// thread.
//
// The scheme is fair queueing by measured seconds, with a ledger instead of virtual time.
//
// Flow: one user's rows of one model and picture size. A user's weight is shared equally by its flows, and a
// flow's by its rows: asking for more, or for many sizes, does not buy a larger part of the device.
//
// Weight: users are equal, but those who ask for least have half of the device when they are fewer than the
// others: the light ones, whose pictures under way take no more than kLightFactor times what the lightest
// user's do, share one half, all others the other. So nobody has less than half of an equal part, and what
// is soon done is not slowed by how many large jobs there are.
//
// Ledger: for each flow the seconds of device time it is owed. Each second the device works is credited to
// all flows by weight and charged to the rows that ran, by weight; so the ledger sums to zero.
//
// Turn: of the flows that are not ahead, the one leads whose unit would be done first if each had its part of
// the device from now on and what it is owed at once: short units first, but never more than a flow's part.
// In it the row that has not run for the longest. Rows that can share the leader's unit join it, in the same
// order, up to the measured largest useful batch.
//
// Company: rows join only while nobody in the unit is charged more than kCompanyPrice times what the unit
// would cost it alone: one row of yours is not slowed to the pace of another user's eight. A flow already
// kAheadUnits units ahead of the leader does not join either, so its debt, and the wait that follows, is
// bounded.
//
// Coming: a new flow starts even, and is credited with the unit it waited for: it goes before those that
// ran then.
//
// Going: a flow that leaves while it is ahead stays in the ledger until that is paid off (at most
// kRemembered such), so coming back at once gains nothing; what one is still owed when it leaves goes to
// the others.
//
// What follows (tests/engine/simulation_test.cpp measures it), with s the longest unit there is:
// * Work conserving: as long as there are rows, a unit runs; nobody waits for company.
// * No starvation: while a flow waits it gains on all that run. Of four users with up to four sizes each
//   nobody was ever left out for more than six s.
// * Bounded unfairness: what two users who both always have rows receive differs by at most about four s,
//   however long they run.
// * A new small job waits for the unit that is running, then has as many seconds as that unit took before
//   its user's larger job is heard again. With T what it takes alone, it is done after s + T if T is less
//   than that unit, and after s + 2 T otherwise; the large job takes at most twice its time, be the small
//   ones ever so many.
//
// Inside: a long unit gives way between its layers (base/give_way.h), and plan_inside says to whom: to
// shorter units of flows that are owed something. For those s is a layer, not a unit (decision 0030).
//
// It is worst-case fair weighted fair queueing (Bennett and Zhang, 1996), with a ledger instead of virtual
// time; what is new is that one unit serves several flows.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/cost_model.h"

namespace diffused::engine {

struct Flow {
  std::string user;
  std::uint64_t lane = 0;  // model and picture size as one number
  auto operator<=>(const Flow&) const = default;
};

// What a row may do now.
enum class Readiness {
  ready,
  running,  // it is in a unit that has given way
  barred,   // its pipeline takes no other unit before that one's end
};

// What the batcher knows of a row in flight.
struct RowDescription {
  Flow flow;
  BatchKey unit;                // what it needs next
  double flops = 0;             // of that unit, for this row
  std::uint64_t last_turn = 0;  // Turns::count when it last ran, or came
  bool alone = false;           // it must not share its unit: a batch it was in has failed
  double picture_seconds = 0;   // estimated, of all its units
  Readiness readiness = Readiness::ready;
};

// Where a flow stands.
struct Standing {
  double owed_seconds = 0;  // device time due to it; negative: it is ahead
  double weight = 0;        // its part of the device, of the sum of all
  std::size_t rows = 0;     // rows in flight; 0: gone, but ahead
  double urgency() const { return owed_seconds / weight; }
  double row_weight() const { return weight / static_cast<double>(rows); }
};

// What the batcher remembers from turn to turn. Start with an empty one whenever no row is left.
struct Turns {
  std::map<Flow, Standing> ledger;
  double uncredited_seconds = 0;  // of the last unit
  std::uint64_t count = 0;        // units so far
};

// Picks the rows of the next unit: indices into `rows`, at least one, all of equal unit, the leader's first;
// no more than are estimated to take `unit_seconds_max` together. All rows are ready, and there is one.
std::vector<std::size_t> plan(std::span<const RowDescription> rows, const CostModel& costs, Turns& turns,
                              double unit_seconds_max = std::numeric_limits<double>::infinity());

// The same for a unit that gives way, whose own rows are among the running ones: what is to run inside it,
// each row's unit no longer than `unit_seconds_max` by estimate and all together neither. Empty: nothing,
// for nobody who could is owed anything. Rows that could share the long unit's next do not run by themselves.
std::vector<std::size_t> plan_inside(std::span<const RowDescription> rows, const CostModel& costs,
                                     Turns& turns, double unit_seconds_max);

// Charges `seconds` of a unit to the flows of its rows, one for each row. All are in the ledger.
void charge(std::span<const Flow> members, double seconds, Turns& turns);

}  // namespace diffused::engine
