// Registers of doubles, and sums whose order does not depend on how wide they are: value k of a row
// goes to lane k mod 8, and the lanes are added at the end.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace ranksrgan::ma {
namespace {

#if defined(__AVX512F__)
constexpr int kPack = 8;
#elif defined(__AVX__)
constexpr int kPack = 4;
#else
constexpr int kPack = 2;
#endif

constexpr int kLanes = 8;
constexpr int kPacks = kLanes / kPack;

// One register, by the vector extension of GCC and clang.
typedef double Pack __attribute__((vector_size(kPack * sizeof(double))));

inline Pack load(const double* from) {
  Pack values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

inline void store(Pack values, double* to) { std::memcpy(to, &values, sizeof values); }

inline Pack magnitude(Pack values) { return values < 0.0 ? -values : values; }

inline Pack root(Pack values) {
  for (int k = 0; k < kPack; ++k) values[k] = std::sqrt(values[k]);
  return values;
}

inline double sum(const double* lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

inline double sum(const Pack (&packs)[kPacks]) {
  double lanes[kLanes];
  std::memcpy(lanes, packs, sizeof lanes);
  return sum(lanes);
}

inline double row_sum(const double* row, int64_t width) {
  Pack totals[kPacks] = {};
  int64_t x = 0;
  for (; x + kLanes <= width; x += kLanes) {
    for (int g = 0; g < kPacks; ++g) totals[g] += load(row + x + g * kPack);
  }
  double rest[kLanes] = {};
  std::copy(row + x, row + width, rest);
  for (int g = 0; g < kPacks; ++g) totals[g] += load(rest + g * kPack);
  return sum(totals);
}

}  // namespace
}  // namespace ranksrgan::ma
