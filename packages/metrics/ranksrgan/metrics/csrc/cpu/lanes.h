// Sums whose order is fixed and that are fast all the same: value k of a row goes to lane
// k mod kLanes, and the lanes are added as a tree at the end. However wide the processor's
// registers are, the additions are the same, and so are the bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace ranksrgan {
namespace {

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define RANKSRGAN_MASKS  // lanes can be chosen by the bits of an integer
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
};

template <typename Real>
inline typename Register<Real>::Values load(const Real* from) {
  typename Register<Real>::Values values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

template <typename Real>
inline typename Register<Real>::Values magnitude(const typename Register<Real>::Values& values) {
  using R = Register<Real>;
  constexpr auto all_but_the_sign = static_cast<typename R::Integer>(
      std::is_same_v<Real, double> ? INT64_MAX : int64_t{INT32_MAX});
  return reinterpret_cast<typename R::Values>(reinterpret_cast<typename R::Bits>(values) &
                                              all_but_the_sign);
}

#ifdef RANKSRGAN_MASKS

inline uint32_t negative(__m512d a) {
  return _mm512_cmp_pd_mask(a, _mm512_setzero_pd(), _CMP_LT_OQ);
}
inline uint32_t negative(__m512 a) {
  return _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_LT_OQ);
}
inline uint32_t nonzero(__m512d a) {
  return _mm512_cmp_pd_mask(a, _mm512_setzero_pd(), _CMP_NEQ_UQ);
}
inline uint32_t nonzero(__m512 a) {
  return _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_NEQ_UQ);
}

// Adds `addend` to `below` in the lanes where `value` is below zero and to `above` in the others.
inline void add_by_sign(__m512d value, __m512d addend, __m512d& below, __m512d& above) {
  const __mmask8 mask = static_cast<__mmask8>(negative(value));
  below = _mm512_mask_add_pd(below, mask, below, addend);
  above = _mm512_mask_add_pd(above, static_cast<__mmask8>(~mask), above, addend);
}
inline void add_by_sign(__m512 value, __m512 addend, __m512& below, __m512& above) {
  const __mmask16 mask = static_cast<__mmask16>(negative(value));
  below = _mm512_mask_add_ps(below, mask, below, addend);
  above = _mm512_mask_add_ps(above, static_cast<__mmask16>(~mask), above, addend);
}

#else

// One bit for each lane of a comparison's result, which is all ones or all zeros.
template <typename Bits>
inline uint32_t lane_bits(const Bits& lanes) {
  constexpr bool is_double = sizeof(lanes[0]) == 8;
#if defined(__AVX__)
  if constexpr (is_double) {
    return static_cast<uint32_t>(_mm256_movemask_pd(reinterpret_cast<__m256d>(lanes)));
  } else {
    return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(lanes)));
  }
#elif defined(__SSE2__)
  if constexpr (is_double) {
    return static_cast<uint32_t>(_mm_movemask_pd(reinterpret_cast<__m128d>(lanes)));
  } else {
    return static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(lanes)));
  }
#else
  uint32_t bits = 0;
  for (unsigned k = 0; k < sizeof(Bits) / sizeof(lanes[0]); ++k) {
    bits |= static_cast<uint32_t>(lanes[k] & 1) << k;
  }
  return bits;
#endif
}

template <typename Values>
inline uint32_t negative(const Values& a) {
  return lane_bits(a < Values{});
}
template <typename Values>
inline uint32_t nonzero(const Values& a) {
  return lane_bits(a != Values{});
}

// Adds `addend` to `below` in the lanes where `value` is below zero and to `above` in the others.
template <typename Values>
inline void add_by_sign(const Values& value, const Values& addend, Values& below, Values& above) {
  const auto mask = value < Values{};
  using Bits = std::remove_const_t<decltype(mask)>;
  below += reinterpret_cast<Values>(mask & reinterpret_cast<Bits>(addend));
  above += reinterpret_cast<Values>(~mask & reinterpret_cast<Bits>(addend));
}

#endif

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
