// Eight doubles side by side, whatever the width of the processor's registers: sums that are shared
// out to eight lanes have the same order, and the same bits, on all of them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "../anywhere.h"

// Nothing here crosses the border of a translation unit, where the passing of vectors would matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace ranksrgan {
namespace {

constexpr int kLanes = 8;
typedef double Octet __attribute__((vector_size(kLanes * sizeof(double))));

inline Octet load(const double* from) {
  Octet values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

inline void store(const Octet& values, double* to, int64_t count = kLanes) {
  std::memcpy(to, &values, count * sizeof(double));
}

inline double sum(const Octet& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

inline Octet magnitude(const Octet& v) { return v < 0.0 ? -v : v; }

inline Octet root(const Octet& v) {
  Octet roots;
  for (int k = 0; k < kLanes; ++k) roots[k] = std::sqrt(v[k]);
  return roots;
}

}  // namespace
}  // namespace ranksrgan
