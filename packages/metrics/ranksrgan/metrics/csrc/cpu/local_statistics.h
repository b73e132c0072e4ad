// Local mean and deviation of one row of a plane: what mscn, patch_crops and nss_features share.
//
// The order of the sums is part of the definition: vertical pass first, in a pass the outermost
// pair of taps first, no contraction (-ffp-contract=off). The variance E[x^2] - E[x]^2 cancels
// almost wholly in flat areas and the root magnifies what is left, so only the same order gives
// the same deviation as the PyTorch twin.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../window.h"

namespace ranksrgan {
namespace {

// One output of a pass: the seven samples, outermost pair first.
inline double weigh(double a0, double a1, double a2, double a3, double a4, double a5, double a6) {
  double total = kTap0 * (a0 + a6);
  total = total + kTap1 * (a1 + a5);
  total = total + kTap2 * (a2 + a4);
  return total + kTap3 * a3;
}

// The vertical pass over x and x^2. rows: seven of `width` samples.
template <typename Sample>
inline void vertical_pass(const Sample* const* rows, int64_t width, double* __restrict sums,
                          double* __restrict squares) {
  for (int64_t x = 0; x < width; ++x) {
    const double a0 = rows[0][x], a1 = rows[1][x], a2 = rows[2][x], a3 = rows[3][x];
    const double a4 = rows[4][x], a5 = rows[5][x], a6 = rows[6][x];
    sums[x] = weigh(a0, a1, a2, a3, a4, a5, a6);
    squares[x] = weigh(a0 * a0, a1 * a1, a2 * a2, a3 * a3, a4 * a4, a5 * a5, a6 * a6);
  }
}

// The horizontal pass at one pixel; s, q: the vertical sums from three to its left.
inline double local_mean(const double* s) {
  return weigh(s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
}

inline double local_variance(const double* q, double mean) {
  return std::fabs(weigh(q[0], q[1], q[2], q[3], q[4], q[5], q[6]) - mean * mean);
}

// The vertical sums of one row, with room for the repeated border on both sides.
struct RowBuffer {
  explicit RowBuffer(int64_t width) : sums(width + 2 * kReach), squares(width + 2 * kReach) {}
  std::vector<double> sums;
  std::vector<double> squares;
};

inline void repeat_ends(double* row, int64_t width) {
  for (int k = 0; k < kReach; ++k) {
    row[k] = row[kReach];
    row[width + kReach + k] = row[width + kReach - 1];
  }
}

// mean, deviation: (width,) of row y of plane: (height, width), border pixels repeated outwards.
template <typename Sample>
void local_statistics(const Sample* plane, int64_t height, int64_t width, int64_t y,
                      RowBuffer& buffer, double* __restrict mean, double* __restrict deviation) {
  const Sample* rows[2 * kReach + 1];
  for (int k = 0; k <= 2 * kReach; ++k) {
    rows[k] = plane + std::clamp<int64_t>(y + k - kReach, 0, height - 1) * width;
  }
  double* sums = buffer.sums.data();
  double* squares = buffer.squares.data();
  vertical_pass(rows, width, sums + kReach, squares + kReach);
  repeat_ends(sums, width);
  repeat_ends(squares, width);
  for (int64_t x = 0; x < width; ++x) {
    mean[x] = local_mean(sums + x);
    deviation[x] = std::sqrt(local_variance(squares + x, mean[x]));
  }
}

}  // namespace
}  // namespace ranksrgan
