// Attention in AMX tiles (tiles_amx.h): 32 queries of a head, a group, and some 512 keys, a block, at a time.
//
//   q [32, D]  x packed k  →  scores [32, 512] float32
//   softmax of the rows as far as they are known  →  probabilities [32, 512], as tiles
//   probabilities  x packed v  →  added to values [32, D], after these were multiplied by what the highest
//                                 score's change means for what came before
//
// The tiles are multiplied in 16 cycles each and hardly occupy the rest of the core, the exponentials take as
// long as all of them. So three blocks are under way: while the softmax of one goes row by row, the products
// of the block before with v, and those of the block after with k, are issued between its rows.
//
// All that is kept lies in the order of the registers, in tiles of 1 KB: 16 rows x 64 bytes.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <limits>

#include "kernels/attention_problem.h"

namespace diffused::kernels {

// One head, packed.
struct PackedHead {
  std::int64_t b, h;
  const std::uint16_t *k, *v;
};

// 2^x for x of at most 0 with a relative error below 1.1e-4, a twentieth of what rounding to bfloat16 may do;
// 0 for -127 and below; NaN stays NaN.
DIFFUSED_AVX512_INLINE __m512 exp2_roughly(__m512 x) {
  const __m512 shift = _mm512_set1_ps(12582912.0f);  // 1.5 * 2^23: the sum's last bit is worth one
  x = _mm512_max_ps(_mm512_set1_ps(-127.0f), x);
  const __m512 shifted = _mm512_add_ps(x, shift);
  const __m512 part = _mm512_sub_ps(x, _mm512_sub_ps(shifted, shift));  // -0.5…0.5
  // The polynomial of degree 3 with the smallest relative error there that is 1 at 0.
  __m512 y = _mm512_set1_ps(5.500869e-2f);
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(0.24221063f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(0.69328292f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(1.0f));
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y), exponent));
}

class TiledAttention {
 public:
  TiledAttention(const AttentionProblem<Bfloat16>& p, const PackedHead& head);

  // The groups first…last - 1 of the head's queries.
  void attend(std::int64_t first, std::int64_t last);

 private:
  static constexpr std::int64_t kGroup = 2 * kRunRows, kBlockKeysMax = 512;
  static constexpr std::int64_t kTileFloats = 256;  // sums of a tile

  // One block of one group; with buffers of its own, as two are under way at a time.
  struct Unit {
    std::int64_t group, first_key, keys, parity;
    bool begins, ends;  // its group

    std::int64_t panels() const { return divide_up(keys, kPanelColumns); }
  };

  Unit unit(std::int64_t i) const;
  void copy_queries(const Unit& unit);
  void score(const Unit& unit, std::int64_t panel);
  void soften(const Unit& unit, std::int64_t row);
  void rescale(const Unit& unit, std::int64_t panel);
  void add_values(const Unit& unit, std::int64_t panel, std::int64_t begin, std::int64_t end);
  void finish(const Unit& unit);
  // The products of `before` with v and of `after` with k as pieces that are about equal.
  std::int64_t pieces(const Unit* before, const Unit* after) const;
  void multiply_piece(const Unit* before, const Unit* after, std::int64_t piece);

  std::int64_t steps() const { return p_.size / 32; }         // of D
  std::int64_t value_panels() const { return p_.size / 32; }  // of 32 columns of v
  std::int64_t pieces_of(const Unit& before) const { return divide_up(before.panels(), kPieceSteps); }

  static constexpr std::int64_t kPieceSteps = 2;

  const AttentionProblem<Bfloat16>& p_;
  const PackedHead& head_;
  std::int64_t first_group_ = 0, blocks_, block_keys_;
  TileRegisters registers_;
  at::Tensor memory_;
  char* queries_;                                                      // [step][run] tiles
  std::array<float*, 2> scores_;                                       // [panel][run][half] tiles
  std::array<char*, 2> probabilities_;                                 // [step][run] tiles
  float* values_;                                                      // [panel][run][half] tiles
  std::array<std::array<float, kGroup>, 2> sums_ = {}, changes_ = {};  // by group; by unit
  std::array<float, kGroup> highest_ = {};                             // of the group that is softened
};

inline TiledAttention::TiledAttention(const AttentionProblem<Bfloat16>& p, const PackedHead& head)
    : p_(p),
      head_(head),
      blocks_(divide_up(p.keys, kBlockKeysMax)),
      block_keys_(divide_up(divide_up(p.keys, blocks_), kPanelColumns) * kPanelColumns) {
  blocks_ = divide_up(p.keys, block_keys_);
  const std::int64_t score_bytes = kGroup * block_keys_ * 4, probability_bytes = score_bytes / 2;
  const std::int64_t query_bytes = kGroup * p.size * 2, value_bytes = kGroup * p.size * 4;
  memory_ = at::empty({2 * score_bytes + 2 * probability_bytes + query_bytes + value_bytes + kTileBytes},
                      at::kByte);
  const auto address = reinterpret_cast<std::int64_t>(memory_.data_ptr());
  char* at = reinterpret_cast<char*>(divide_up(address, kTileBytes) * kTileBytes);
  const auto take = [&](std::int64_t bytes) { return std::exchange(at, at + bytes); };
  for (float*& scores : scores_) scores = reinterpret_cast<float*>(take(score_bytes));
  for (char*& probabilities : probabilities_) probabilities = take(probability_bytes);
  queries_ = take(query_bytes);
  values_ = reinterpret_cast<float*>(take(value_bytes));
  registers_.fit(kRunRows, kRunRows);
}

inline TiledAttention::Unit TiledAttention::unit(std::int64_t i) const {
  const std::int64_t block = i % blocks_, first_key = block * block_keys_;
  return {.group = first_group_ + i / blocks_,
          .first_key = first_key,
          .keys = std::min(block_keys_, p_.keys - first_key),
          .parity = i % 2,
          .begins = block == 0,
          .ends = block + 1 == blocks_};
}

// Queries beyond the last are zero.
DIFFUSED_AVX512 inline void TiledAttention::copy_queries(const Unit& unit) {
  for (std::int64_t row = 0; row < kGroup; ++row) {
    const std::int64_t query = unit.group * kGroup + row;
    for (std::int64_t step = 0; step < steps(); ++step) {
      const __m512i values = query < p_.queries
                                 ? _mm512_loadu_si512(p_.q.row(head_.b, head_.h, query) + step * 32)
                                 : _mm512_setzero_si512();
      _mm512_store_si512(queries_ + step * kPanelStepBytes + row * kStepBytes, values);
    }
  }
}

// The scores of 32 keys.
inline void TiledAttention::score(const Unit& unit, std::int64_t panel) {
  zero_tile_register<0>();
  zero_tile_register<1>();
  zero_tile_register<2>();
  zero_tile_register<3>();
  const std::int64_t packed_panel = unit.first_key / kPanelColumns + panel;
  const char* k = reinterpret_cast<const char*>(head_.k) + packed_panel * steps() * kPanelStepBytes;
  for (std::int64_t step = 0; step < steps(); ++step, k += kPanelStepBytes) {
    const char* const q = queries_ + step * kPanelStepBytes;
    multiply_step<Bfloat16, true, true, Streamed::b>(q, q + kTileBytes, kStepBytes, k);
  }
  float* const to = scores_[unit.parity] + panel * 4 * kTileFloats;
  store_tile<0>(to, kStepBytes);
  store_tile<1>(to + kTileFloats, kStepBytes);
  store_tile<2>(to + 2 * kTileFloats, kStepBytes);
  store_tile<3>(to + 3 * kTileFloats, kStepBytes);
}

// Makes probabilities of a row of scores: 2^(factor * (score - highest so far)), zero beyond the last key.
DIFFUSED_AVX512 inline void TiledAttention::soften(const Unit& unit, std::int64_t row) {
  constexpr float kLog2E = 1.44269504088896340736f;
  const std::int64_t run = row / kRunRows, line = row % kRunRows, panels = unit.panels();
  float* const scores = scores_[unit.parity] + run * 2 * kTileFloats + line * kLanes;
  const __m512 lowest = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  const auto lanes = [&](std::int64_t panel, int half) {
    return first_lanes(unit.keys - panel * kPanelColumns - half * kLanes);
  };
  if (p_.bias.defined()) {
    const float* bias = p_.bias_row(head_.b, head_.h, unit.group * kGroup + row) + unit.first_key;
    for (std::int64_t i = 0; i < 2 * panels; ++i) {
      float* const at = scores + (i / 2 * 4 + i % 2) * kTileFloats;
      add_bias(at, bias + i * kLanes, std::min(unit.keys - i * kLanes, kLanes), p_.scale);
    }
  }
  __m512 highest = lowest;
  for (std::int64_t panel = 0; panel < panels - 1; ++panel) {
    const float* const at = scores + panel * 4 * kTileFloats;
    highest = _mm512_max_ps(highest, _mm512_max_ps(_mm512_load_ps(at), _mm512_load_ps(at + kTileFloats)));
  }
  const float* const last = scores + (panels - 1) * 4 * kTileFloats;
  highest = _mm512_max_ps(highest, _mm512_mask_load_ps(lowest, lanes(panels - 1, 0), last));
  highest = _mm512_max_ps(highest, _mm512_mask_load_ps(lowest, lanes(panels - 1, 1), last + kTileFloats));

  const float before = unit.begins ? lowest[0] : highest_[row];
  const float now = std::max(before, _mm512_reduce_max_ps(highest));
  const float offset = now == lowest[0] ? 0 : now;  // a row may be masked as far as it is known
  highest_[row] = now;
  const __m512 factor = _mm512_set1_ps(p_.scale * kLog2E);
  const __m512 shift = _mm512_set1_ps(-offset * (p_.scale * kLog2E));
  const __m512 change = exp2(_mm512_set1_ps((before - offset) * (p_.scale * kLog2E)));
  __m512 sum = _mm512_setzero_ps();
  char* to = probabilities_[unit.parity] + run * kTileBytes + line * kStepBytes;
  for (std::int64_t panel = 0; panel < panels; ++panel, to += kPanelStepBytes) {
    const float* const at = scores + panel * 4 * kTileFloats;
    __m512 first = exp2_roughly(_mm512_fmadd_ps(_mm512_load_ps(at), factor, shift));
    __m512 second = exp2_roughly(_mm512_fmadd_ps(_mm512_load_ps(at + kTileFloats), factor, shift));
    if (panel == panels - 1) {
      first = _mm512_maskz_mov_ps(lanes(panel, 0), first);
      second = _mm512_maskz_mov_ps(lanes(panel, 1), second);
    }
    sum = _mm512_add_ps(sum, _mm512_add_ps(first, second));
    _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(second, first));
  }
  float& all = sums_[unit.group % 2][row];
  changes_[unit.parity][row] = change[0];
  all = (unit.begins ? 0 : all * change[0]) + _mm512_reduce_add_ps(sum);
}

// Multiplies 32 columns of the values by the changes of the unit's highest scores.
DIFFUSED_AVX512 inline void TiledAttention::rescale(const Unit& unit, std::int64_t panel) {
  float* at = values_ + panel * 4 * kTileFloats;
  for (std::int64_t row = 0; row < kGroup; ++row) {
    if (changes_[unit.parity][row] == 1) continue;
    const __m512 change = _mm512_set1_ps(changes_[unit.parity][row]);
    float* const value = at + (row / kRunRows * 2 * kTileFloats + row % kRunRows * kLanes);
    _mm512_store_ps(value, _mm512_mul_ps(_mm512_load_ps(value), change));
    _mm512_store_ps(value + kTileFloats, _mm512_mul_ps(_mm512_load_ps(value + kTileFloats), change));
  }
}

// Adds the products of the unit's probabilities, 32 keys a step, with a panel of v. From the first step to
// the last the sums stay in registers.
inline void TiledAttention::add_values(const Unit& unit, std::int64_t panel, std::int64_t begin,
                                       std::int64_t end) {
  float* const values = values_ + panel * 4 * kTileFloats;
  if (begin == 0 && unit.begins) {
    zero_tile_register<0>();
    zero_tile_register<1>();
    zero_tile_register<2>();
    zero_tile_register<3>();
  } else if (begin == 0) {
    rescale(unit, panel);
    load_tile<0>(values, kStepBytes);
    load_tile<1>(values + kTileFloats, kStepBytes);
    load_tile<2>(values + 2 * kTileFloats, kStepBytes);
    load_tile<3>(values + 3 * kTileFloats, kStepBytes);
  }
  const std::int64_t all_steps = p_.v_packing().units() / kStepUnits;
  const std::int64_t first_step = unit.first_key / kPanelColumns;
  const char* const v =
      reinterpret_cast<const char*>(head_.v) + (panel * all_steps + first_step) * kPanelStepBytes;
  for (std::int64_t step = begin; step < end; ++step) {
    const char* const x = probabilities_[unit.parity] + step * kPanelStepBytes;
    multiply_step<Bfloat16, true, true, Streamed::b>(x, x + kTileBytes, kStepBytes,
                                                     v + step * kPanelStepBytes);
  }
  if (end < unit.panels()) return;
  store_tile<0>(values, kStepBytes);
  store_tile<1>(values + kTileFloats, kStepBytes);
  store_tile<2>(values + 2 * kTileFloats, kStepBytes);
  store_tile<3>(values + 3 * kTileFloats, kStepBytes);
}

// Divides the group's values by the sums and rounds them.
DIFFUSED_AVX512 inline void TiledAttention::finish(const Unit& unit) {
  const std::int64_t first = unit.group * kGroup;
  for (std::int64_t row = 0; row < std::min(kGroup, p_.queries - first); ++row) {
    const __m512 factor = _mm512_set1_ps(1 / sums_[unit.group % 2][row]);
    const float* const values = values_ + row / kRunRows * 2 * kTileFloats + row % kRunRows * kLanes;
    std::uint16_t* const out = p_.out.row(head_.b, head_.h, first + row);
    for (std::int64_t i = 0; i < 2 * value_panels(); ++i) {
      const __m512 value = _mm512_load_ps(values + (i / 2 * 4 + i % 2) * kTileFloats);
      Bfloat16::store(out + i * kLanes, _mm512_mul_ps(value, factor));
    }
  }
}

inline std::int64_t TiledAttention::pieces(const Unit* before, const Unit* after) const {
  return (before != nullptr ? value_panels() * pieces_of(*before) : 0) +
         (after != nullptr ? after->panels() : 0);
}

inline void TiledAttention::multiply_piece(const Unit* before, const Unit* after, std::int64_t piece) {
  const std::int64_t of_values = before != nullptr ? value_panels() * pieces_of(*before) : 0;
  if (piece >= of_values) return score(*after, piece - of_values);
  const std::int64_t begin = piece % pieces_of(*before) * kPieceSteps;
  add_values(*before, piece / pieces_of(*before), begin, std::min(begin + kPieceSteps, before->panels()));
}

inline void TiledAttention::attend(std::int64_t first, std::int64_t last) {
  first_group_ = first;
  const std::int64_t units = (last - first) * blocks_;
  // At i the softmax of unit i is made.
  for (std::int64_t i = -1; i <= units; ++i) {
    const Unit before = unit(std::max<std::int64_t>(i - 1, 0)), now = unit(std::max<std::int64_t>(i, 0));
    const Unit after = unit(i + 1);
    const Unit* const multiplied = i > 0 ? &before : nullptr;
    const Unit* const scored = i + 1 < units ? &after : nullptr;
    if (scored != nullptr && after.begins) copy_queries(after);
    const std::int64_t rows = i >= 0 && i < units ? std::min(kGroup, p_.queries - now.group * kGroup) : 0;
    const std::int64_t count = pieces(multiplied, scored);
    for (std::int64_t row = 0, piece = 0; row < kGroup; ++row) {
      if (row < rows) soften(now, row);
      for (; piece < (row + 1) * count / kGroup; ++piece) multiply_piece(multiplied, scored, piece);
    }
    if (multiplied != nullptr && before.ends) finish(before);
  }
}

}  // namespace diffused::kernels
