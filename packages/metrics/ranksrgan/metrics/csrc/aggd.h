// The asymmetric generalised Gaussian with given moments, for the CPU and the CUDA kernels: the
// steps of ranksrgan.metrics.aggd.
#pragma once

#include <cmath>
#include <cstdint>

#include "anywhere.h"

namespace ranksrgan {

// Of a sample of values; zeros are on neither side.
struct Moments {
  double absolute;       // sum of |v|
  double below, above;   // sums of v^2 over v < 0 and over v > 0
  int64_t count_below, count_above;
};

// Rows of the table of ranksrgan.metrics.aggd, each of `length`; `ratio` increases strictly.
struct AggdTable {
  const double *shape, *ratio, *scale, *mean;
  int64_t length;
};

constexpr int64_t kAggdRows = 4;

RANKSRGAN_ANYWHERE inline AggdTable aggd_table(const double* rows, int64_t length) {
  return {rows, rows + length, rows + 2 * length, rows + 3 * length, length};
}

struct Aggd {
  double alpha, left, right, mean;
};

// The tabulated ratio nearest to `wanted`, the first on a tie; the first of all if that is no
// number (0 / 0 where a side is empty), as MATLAB's min has it.
RANKSRGAN_ANYWHERE inline int64_t nearest(const AggdTable& table, double wanted) {
  if (!(wanted - wanted == 0.0)) return 0;
  int64_t upper = 0;  // the first entry that is not below
  for (int64_t many = table.length; many > 0;) {
    const int64_t half = many / 2;
    if (table.ratio[upper + half] < wanted) {
      upper += half + 1;
      many -= half + 1;
    } else {
      many = half;
    }
  }
  if (upper == 0) return 0;
  if (upper == table.length) return upper - 1;
  const double to_lower = table.ratio[upper - 1] - wanted, to_upper = table.ratio[upper] - wanted;
  return to_lower * to_lower <= to_upper * to_upper ? upper - 1 : upper;
}

RANKSRGAN_ANYWHERE inline Aggd fit_aggd(const Moments& m, int64_t count, const AggdTable& table) {
  const double n = static_cast<double>(count);
  const double left = sqrt(m.below / static_cast<double>(m.count_below));
  const double right = sqrt(m.above / static_cast<double>(m.count_above));
  const double skew = left / right;
  const double skew2 = skew * skew;
  const double mean = m.absolute / n;
  const double symmetric = mean * mean / ((m.below + m.above) / n);
  const double ratio = symmetric * (skew2 * skew + 1) * (skew + 1) / ((skew2 + 1) * (skew2 + 1));
  const int64_t best = nearest(table, ratio);
  const double scale = table.scale[best];
  return {table.shape[best], left * scale, right * scale,
          (right * scale - left * scale) * table.mean[best]};
}

}  // namespace ranksrgan
