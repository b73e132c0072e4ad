// The moments of one block's contrast-normalised values and of their products with four
// neighbours, row by row: nothing but the last row is kept.
#pragma once

#include <cmath>
#include <cstdint>

#include "../blocks.h"
#include "lanes.h"
#include "local_statistics.h"

namespace ranksrgan {
namespace {

// Rows after which the lanes are added to the totals, which are float64 whatever Real is.
constexpr int kDrain = 8;

// Real: what is normalised and summed in. The window's sums are always float64.
template <int side, typename Real>
class BlockMoments {
 public:
  // Pixels of the block with kReach more around it, padded to whole registers.
  static constexpr int kPixelRows = side + 2 * kReach;
  static constexpr int kPixelColumns = side + 8;
  static_assert(side % kLanes<Real> == 0 && side % kDrain == 0 && kPixelColumns % 8 == 0);

  double* pixels(int y) { return pixels_[y]; }

  // From the pixels, which the caller has filled in.
  void moments(Moments (&found)[kMaps]) {
    reset();
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
  using Bits = typename R::Bits;

  // Where values begin: a whole group of lanes, the last of which repeats the row's other end.
  static constexpr int kEdge = kLanes<Real>;

  struct alignas(64) Row {
    Real values[kEdge + side + kEdge];
    uint8_t negative[kEdge + side + kEdge];  // 1 or 0
    uint8_t nonzero[kEdge + side + kEdge];
  };

  struct Sums {
    Values absolute, below, above;
  };

  void reset() {
    const Values zero{};
    for (auto& group : sums_) {
      for (Sums& sums : group) sums = {zero, zero, zero};
    }
    std::memset(totals_, 0, sizeof totals_);
    std::memset(negatives_, 0, sizeof negatives_);
    std::memset(nonzeros_, 0, sizeof nonzeros_);
  }

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
    uint8_t* __restrict negative = row.negative + kEdge;
    uint8_t* __restrict nonzero = row.nonzero + kEdge;
    for (int x = 0; x < side; ++x) {
      negative[x] = values[x] < 0;
      nonzero[x] = values[x] != 0;
    }
    close_ring(row.values);
    close_ring(row.negative);
    close_ring(row.nonzero);
  }

  template <typename T>
  static void close_ring(T* row) {
    row[kEdge - 1] = row[kEdge + side - 1];
    row[kEdge + side] = row[kEdge];
  }

  static void add(const Values& value, Sums& sums) {
    const Values zero{};
    const Values magnitude = reinterpret_cast<Values>(reinterpret_cast<Bits>(value) & R::magnitude);
    const Values square = value * value;
    const Bits negative = value < zero;
    sums.absolute += magnitude;
    sums.below += reinterpret_cast<Values>(negative & reinterpret_cast<Bits>(square));
    sums.above += reinterpret_cast<Values>(~negative & reinterpret_cast<Bits>(square));
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
    for (int x = 0; x < side; ++x) {
      negatives_[0][x] += row.negative[kEdge + x];
      nonzeros_[0][x] += row.nonzero[kEdge + x];
    }
    count(1, row, row, -1);
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
    count(2, row, above, 0);
    count(3, row, above, -1);
    count(4, row, above, 1);
  }

  // A product is negative where one factor is, and zero where one is: it cannot underflow, since
  // values are zero or far from it.
  void count(int map, const Row& row, const Row& other, int shift) {
    uint8_t* __restrict negatives = negatives_[map];
    uint8_t* __restrict nonzeros = nonzeros_[map];
    const uint8_t* negative = row.negative + kEdge;
    const uint8_t* nonzero = row.nonzero + kEdge;
    const uint8_t* other_negative = other.negative + kEdge + shift;
    const uint8_t* other_nonzero = other.nonzero + kEdge + shift;
    for (int x = 0; x < side; ++x) {
      const uint8_t both = nonzero[x] & other_nonzero[x];
      negatives[x] += (negative[x] ^ other_negative[x]) & both;
      nonzeros[x] += both;
    }
  }

  void drain() {
    const Values zero{};
    for (int group = 0; group < R::groups; ++group) {
      for (int k = 0; k < kMaps; ++k) {
        Sums& sums = sums_[group][k];
        for (int lane = 0; lane < R::size; ++lane) {
          totals_[k][0][group * R::size + lane] += sums.absolute[lane];
          totals_[k][1][group * R::size + lane] += sums.below[lane];
          totals_[k][2][group * R::size + lane] += sums.above[lane];
        }
        sums = {zero, zero, zero};
      }
    }
  }

  Moments total(int map) const {
    int64_t negative = 0, nonzero = 0;
    for (int x = 0; x < side; ++x) {
      negative += negatives_[map][x];
      nonzero += nonzeros_[map][x];
    }
    const auto& lanes = totals_[map];
    return {tree_sum<kLanes<Real>>(lanes[0]), tree_sum<kLanes<Real>>(lanes[1]),
            tree_sum<kLanes<Real>>(lanes[2]), negative, nonzero - negative};
  }

  alignas(64) double pixels_[kPixelRows][kPixelColumns];
  alignas(64) double window_sums_[kPixelColumns];
  alignas(64) double window_squares_[kPixelColumns];
  Row first_, rows_[2];
  alignas(64) Sums sums_[R::groups][kMaps];
  alignas(64) double totals_[kMaps][3][kLanes<Real>];
  // How many in each column; a column has at most 96, so that a byte holds it.
  alignas(64) uint8_t negatives_[kMaps][side];
  alignas(64) uint8_t nonzeros_[kMaps][side];
};

}  // namespace
}  // namespace ranksrgan
