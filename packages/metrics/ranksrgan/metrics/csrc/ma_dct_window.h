// One window of ma_dct, for the CPU and the CUDA kernel: the steps of
// ranksrgan.metrics.reference.ma_dct in the same order. Value is double, or several of them side by
// side. Both builds keep multiplications and additions apart (-ffp-contract=off, --fmad=false).
#pragma once

#include <cmath>
#include <cstdint>

#include "anywhere.h"

namespace ranksrgan::ma {
namespace {

constexpr int kWindow = 7;  // side of a window
constexpr int kStride = 3;  // from one to the next
constexpr int kMargin = 2;  // how far above and left of the plane the first begins
constexpr int kCoefficients = kWindow * kWindow;

RANKSRGAN_ANYWHERE inline int64_t windows_along(int64_t length) {
  return (length + kStride - 1) / kStride;
}

RANKSRGAN_ANYWHERE inline double magnitude(double value) { return fabs(value); }
RANKSRGAN_ANYWHERE inline double root(double value) { return sqrt(value); }

// Orthonormal DCT of seven samples, from the differences to the middle one.
template <typename Value>
RANKSRGAN_ANYWHERE inline void dct(const Value (&samples)[kWindow], Value* out) {
  // cosines[u][k] weighs the samples k and 6 - k in coefficient u.
  constexpr double cosines[kWindow][3] = {
      {0.3779644730092272, 0.3779644730092272, 0.3779644730092272},
      {0.5211208891696024, 0.417906505941275, 0.23192061392432992},
      {0.48158811712006316, 0.11894244232135434, -0.333269317528993},
      {0.417906505941275, -0.23192061392432983, -0.5211208891696025},
      {0.3332693175289931, -0.4815881171200631, -0.11894244232135441},
      {0.23192061392432992, -0.5211208891696025, 0.41790650594127493},
      {0.11894244232135434, -0.3332693175289932, 0.4815881171200634},
  };
  constexpr double root_seven = 2.6457513110645907;
  const Value middle = samples[3];
  Value even[3], odd[3];
  for (int k = 0; k < 3; ++k) {
    even[k] = (samples[k] - middle) + (samples[6 - k] - middle);
    odd[k] = samples[k] - samples[6 - k];
  }
  for (int u = 0; u < kWindow; ++u) {
    const Value* pairs = u % 2 == 1 ? odd : even;
    out[u] = cosines[u][0] * pairs[0] + cosines[u][1] * pairs[1] + cosines[u][2] * pairs[2];
  }
  out[0] = out[0] + root_seven * middle;
}

template <typename Value>
RANKSRGAN_ANYWHERE inline Value mean(const Value* values, int count) {
  Value total = values[0];
  for (int k = 1; k < count; ++k) total = total + values[k];
  return total / static_cast<double>(count);
}

template <typename Value>
RANKSRGAN_ANYWHERE inline Value variance(const Value* values, int count) {
  const Value centre = mean(values, count);
  Value total = (values[0] - centre) * (values[0] - centre);
  for (int k = 1; k < count; ++k) {
    total = total + (values[k] - centre) * (values[k] - centre);
  }
  return total / static_cast<double>(count - 1);
}

// Standard deviation over mean.
template <typename Value>
RANKSRGAN_ANYWHERE inline Value variation_of(const Value* sizes, int count, double floor) {
  return root(variance(sizes, count)) / (mean(sizes, count) + floor);
}

template <typename Value>
struct WindowStatistics {
  Value ratio, variation, orientation;
};

// coefficients: (7, 7); the first, which is the window's mean, is left out.
template <typename Value>
RANKSRGAN_ANYWHERE inline WindowStatistics<Value> window_statistics(const Value* coefficients) {
  // Of horizontal, diagonal and vertical frequency.
  constexpr int group = 16;
  constexpr int orientations[3][group] = {
      {1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 18, 19, 20, 26, 27},
      {8, 16, 17, 23, 24, 25, 31, 32, 33, 34, 39, 40, 41, 46, 47, 48},
      {7, 14, 15, 21, 22, 28, 29, 30, 35, 36, 37, 38, 42, 43, 44, 45},
  };
  constexpr double floor = 1e-7, orientation_floor = 1e-8;
  constexpr int count = kCoefficients - 1;
  const Value* values = coefficients + 1;

  const Value centre = mean(values, count);
  Value sizes[count];
  for (int k = 0; k < count; ++k) sizes[k] = magnitude(values[k] - centre);
  const Value distance = mean(sizes, count);
  WindowStatistics<Value> found;
  found.ratio = variance(values, count) / (distance * distance + floor);

  for (int k = 0; k < count; ++k) sizes[k] = magnitude(values[k]);
  found.variation = variation_of(sizes, count, floor);
  Value variations[3];
  for (int one = 0; one < 3; ++one) {
    Value some[group];
    for (int k = 0; k < group; ++k) some[k] = sizes[orientations[one][k] - 1];
    variations[one] = variation_of(some, group, orientation_floor);
  }
  found.orientation = variance(variations, 3);
  return found;
}

}  // namespace
}  // namespace ranksrgan::ma
