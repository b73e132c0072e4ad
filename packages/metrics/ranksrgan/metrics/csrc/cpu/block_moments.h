// The moments of one block's contrast-normalised values and of their products with four
// neighbours, row by row: nothing but the last row is kept.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../blocks.h"
#include "lanes.h"
#include "local_statistics.h"

namespace ranksrgan {
namespace {

// Rows after which the lanes are added to the totals, which are float64 whatever Real is.
constexpr int kDrain = 8;

// Columns of a row, one bit for each of `side`.
template <int side>
class Columns {
 public:
  static_assert(side <= 128);
  Columns() = default;
  // Bit k of the words, one after the other, for column k; none beyond the last column.
  explicit Columns(const uint64_t (&words)[2]) : bits_(Bits{words[1]} << 64 | words[0]) {}

  int64_t count() const {
    return __builtin_popcountll(static_cast<uint64_t>(bits_)) +
           __builtin_popcountll(static_cast<uint64_t>(bits_ >> 64));
  }
  // Each column in the place of the one after or before it, around the ends.
  Columns to_right() const { return Columns((bits_ << 1 | bits_ >> (side - 1)) & kAll); }
  Columns to_left() const { return Columns(bits_ >> 1 | (bits_ & 1) << (side - 1)); }

  friend Columns operator&(Columns a, Columns b) { return Columns(a.bits_ & b.bits_); }
  friend Columns operator^(Columns a, Columns b) { return Columns(a.bits_ ^ b.bits_); }

 private:
  __extension__ typedef unsigned __int128 Bits;
  static constexpr Bits kAll = (Bits{1} << side) - 1;
  explicit Columns(Bits bits) : bits_(bits) {}
  Bits bits_ = 0;
};

// Real: what is normalised and summed in. The window's sums are always float64.
template <int side, typename Real>
class BlockMoments {
 public:
  // Pixels of the block with kReach more around it, padded to whole registers.
  static constexpr int kPixelRows = side + 2 * kReach;
  static constexpr int kPixelColumns = side + 8;
  static_assert(side % kLanes<Real> == 0 && side % kDrain == 0 && kPixelColumns % 8 == 0);

  double* pixels(int y) { return pixels_[y]; }

  // From the pixels, which the caller has filled in. Not inlined: in the middle of a larger function
  // GCC does worse by a third.
  __attribute__((noinline)) void moments(Moments (&found)[kMaps]) {
    for (auto& group : sums_) {
      for (Sums& sums : group) sums = Sums{};
    }
    std::memset(totals_, 0, sizeof totals_);
    std::memset(counts_, 0, sizeof counts_);
    Row* above = &rows_[0];
    for (int y = 0; y < side; ++y) {
      Row& row = y == 0 ? first_ : rows_[y % 2];
      normalise(y, row);
      add_within(row);
      if (y > 0) add_across(row, *above);
      if (y % kDrain == kDrain - 1) drain();
      above = &row;
    }
    add_across(first_, *above);
    drain();
    for (int k = 0; k < kMaps; ++k) found[k] = total(k);
  }

 private:
  using R = Register<Real>;
  using Values = typename R::Values;

  // Where values begin: a whole group of lanes, the last of which repeats the row's other end.
  static constexpr int kEdge = kLanes<Real>;

  struct alignas(64) Row {
    Real values[kEdge + side + kEdge];
    Columns<side> negative, nonzero;
  };

  struct Sums {
    Values absolute, below, above;
  };

  struct Counts {
    int64_t negative, nonzero;
  };

  void normalise(int y, Row& row) {
    const double* above[2 * kReach + 1];
    for (int k = 0; k <= 2 * kReach; ++k) above[k] = pixels_[y + k];
    vertical_pass(above, kPixelColumns, window_sums_, window_squares_);
    const double* centre = pixels_[y + kReach] + kReach;
    Real* __restrict values = row.values + kEdge;
    for (int x = 0; x < side; ++x) {
      const double mean = local_mean(window_sums_ + x);
      const Real deviation =
          std::sqrt(static_cast<Real>(local_variance(window_squares_ + x, mean)));
      const double difference = centre[x] - mean;
      const double snapped = std::fabs(difference) < kSnap ? 0.0 : difference;
      values[x] = static_cast<Real>(snapped) / (deviation + static_cast<Real>(1));
    }
    values[-1] = values[side - 1];
    values[side] = values[0];

    // One group of lanes after the other, 8 bits or 16 of each. Shifted into words: of an array of
    // bytes, zero beyond the last group, GCC 12 and 13 for Sapphire Rapids forget the zeros.
    uint64_t negatives[2] = {}, nonzeros[2] = {};
    for (int k = 0; k < side / kLanes<Real>; ++k) {
      uint32_t is_negative = 0, is_nonzero = 0;
      for (int group = 0; group < R::groups; ++group) {
        const Values some = load(values + k * kLanes<Real> + group * R::size);
        is_negative |= ranksrgan::negative(some) << (group * R::size);
        is_nonzero |= ranksrgan::nonzero(some) << (group * R::size);
      }
      constexpr int groups_in_a_word = 64 / kLanes<Real>;
      const int word = k / groups_in_a_word, shift = k % groups_in_a_word * kLanes<Real>;
      negatives[word] |= static_cast<uint64_t>(is_negative) << shift;
      nonzeros[word] |= static_cast<uint64_t>(is_nonzero) << shift;
    }
    row.negative = Columns<side>(negatives);
    row.nonzero = Columns<side>(nonzeros);
  }

  static void add(const Values& value, Sums& sums) {
    sums.absolute += magnitude<Real>(value);
    add_by_sign(value, value * value, sums.below, sums.above);
  }

  // The maps that need one row.
  void add_within(const Row& row) {
    const Real* here = row.values + kEdge;
    for (int group = 0; group < R::groups; ++group) {
      Sums self = sums_[group][0], left = sums_[group][1];
      for (int x = group * R::size; x < side; x += kLanes<Real>) {
        const Values value = load(here + x);
        add(value, self);
        add(value * load(here + x - 1), left);
      }
      sums_[group][0] = self;
      sums_[group][1] = left;
    }
    counts_[0].negative += row.negative.count();
    counts_[0].nonzero += row.nonzero.count();
    count(1, row, row.negative.to_right(), row.nonzero.to_right());
  }

  // The maps that need the row above too.
  void add_across(const Row& row, const Row& above) {
    const Real* here = row.values + kEdge;
    const Real* there = above.values + kEdge;
    for (int group = 0; group < R::groups; ++group) {
      Sums up = sums_[group][2], left = sums_[group][3], right = sums_[group][4];
      for (int x = group * R::size; x < side; x += kLanes<Real>) {
        const Values value = load(here + x);
        add(value * load(there + x), up);
        add(value * load(there + x - 1), left);
        add(value * load(there + x + 1), right);
      }
      sums_[group][2] = up;
      sums_[group][3] = left;
      sums_[group][4] = right;
    }
    count(2, row, above.negative, above.nonzero);
    count(3, row, above.negative.to_right(), above.nonzero.to_right());
    count(4, row, above.negative.to_left(), above.nonzero.to_left());
  }

  // A product is negative where one factor is, and zero where one is: it cannot underflow, since
  // values are zero or far from it.
  void count(int map, const Row& row, Columns<side> other_negative, Columns<side> other_nonzero) {
    const Columns<side> nonzero = row.nonzero & other_nonzero;
    counts_[map].negative += ((row.negative ^ other_negative) & nonzero).count();
    counts_[map].nonzero += nonzero.count();
  }

  void drain() {
    for (int group = 0; group < R::groups; ++group) {
      for (int k = 0; k < kMaps; ++k) {
        Sums& sums = sums_[group][k];
        for (int lane = 0; lane < R::size; ++lane) {
          totals_[k][0][group * R::size + lane] += sums.absolute[lane];
          totals_[k][1][group * R::size + lane] += sums.below[lane];
          totals_[k][2][group * R::size + lane] += sums.above[lane];
        }
        sums = Sums{};
      }
    }
  }

  Moments total(int map) const {
    const auto& lanes = totals_[map];
    const Counts& counts = counts_[map];
    return {tree_sum<kLanes<Real>>(lanes[0]), tree_sum<kLanes<Real>>(lanes[1]),
            tree_sum<kLanes<Real>>(lanes[2]), counts.negative, counts.nonzero - counts.negative};
  }

  alignas(64) double pixels_[kPixelRows][kPixelColumns];
  alignas(64) double window_sums_[kPixelColumns];
  alignas(64) double window_squares_[kPixelColumns];
  Row first_, rows_[2];
  alignas(64) Sums sums_[R::groups][kMaps];
  alignas(64) double totals_[kMaps][3][kLanes<Real>];
  Counts counts_[kMaps];
};

}  // namespace
}  // namespace ranksrgan
