// Sums whose order is fixed and that are fast all the same: value k of a row goes to lane
// k mod kLanes, and the lanes are added as a tree at the end. However wide the processor's
// registers are, the additions are the same, and so are the bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace ranksrgan {
namespace {

#if defined(__AVX512F__)
constexpr int kRegister = 64;
#elif defined(__AVX__)
constexpr int kRegister = 32;
#else
constexpr int kRegister = 16;
#endif

// 64 bytes of lanes: one register, two or four.
template <typename Real>
constexpr int kLanes = 64 / sizeof(Real);

// A register of Real, by the vector extension of GCC and clang.
template <typename Real>
struct Register {
  using Integer = std::conditional_t<sizeof(Real) == 8, int64_t, int32_t>;
  typedef Real Values __attribute__((vector_size(kRegister)));
  typedef Integer Bits __attribute__((vector_size(kRegister)));
  static constexpr int size = kRegister / sizeof(Real);
  static constexpr int groups = kLanes<Real> / size;
  static constexpr Integer magnitude = std::is_same_v<Real, double>
                                           ? static_cast<Integer>(INT64_MAX)
                                           : static_cast<Integer>(INT32_MAX);
};

template <typename Real>
inline typename Register<Real>::Values load(const Real* from) {
  typename Register<Real>::Values values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

template <int count>
inline double tree_sum(const double* lanes) {
  if constexpr (count == 1) {
    return lanes[0];
  } else {
    double halves[count / 2];
    for (int k = 0; k < count / 2; ++k) halves[k] = lanes[k] + lanes[k + count / 2];
    return tree_sum<count / 2>(halves);
  }
}

}  // namespace
}  // namespace ranksrgan
