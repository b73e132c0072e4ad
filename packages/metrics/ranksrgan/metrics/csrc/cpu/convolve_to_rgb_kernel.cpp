#ifdef __x86_64__  // elsewhere there is no kernel

#include "../convolve_to_rgb.h"
#include "avx512.h"

namespace ranksrgan::avx512::convolve_to_rgb {
namespace {

constexpr int kTogether = 12;  // pixels whose products fit into the registers

// What pixels give to each of their neighbours: products (pixels, 32) = x (pixels, channels) weight.
template <bool half, int pixels>
RANKSRGAN_BF16 void give(const char* x, int64_t pixel, int64_t channels, const float* weight,
                         float* products) {
  __m512 sums[pixels][2];
  for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
  for (int64_t c = 0; c < channels; c += kLanes) {
    alignas(64) float values[pixels][kLanes];
    for (int p = 0; p < pixels; ++p) {
      _mm512_store_ps(values[p], load<half>(x + (half ? 2 : 4) * (p * pixel + c)));
    }
    for (int k = 0; k < kLanes; ++k) {
      const float* row = weight + (c + k) * kRgbProducts;
      const __m512 first = _mm512_loadu_ps(row), second = _mm512_loadu_ps(row + kLanes);
      for (int p = 0; p < pixels; ++p) {
        const __m512 value = _mm512_set1_ps(values[p][k]);
        sums[p][0] = _mm512_fmadd_ps(value, first, sums[p][0]);
        sums[p][1] = _mm512_fmadd_ps(value, second, sums[p][1]);
      }
    }
  }
  for (int p = 0; p < pixels; ++p) {
    _mm512_storeu_ps(products + p * kRgbProducts, sums[p][0]);
    _mm512_storeu_ps(products + p * kRgbProducts + kLanes, sums[p][1]);
  }
}

template <bool half>
RANKSRGAN_BF16 void give_row(const Map& x, int64_t y, const float* weight, float* products) {
  const char* row = x.data + x.bytes() * y * x.row;
  int64_t column = 0;
  for (; column + kTogether <= x.width; column += kTogether) {
    give<half, kTogether>(row + x.bytes() * column * x.pixel, x.pixel, x.channels, weight,
                          products + column * kRgbProducts);
  }
  for (; column < x.width; ++column) {
    give<half, 1>(row + x.bytes() * column * x.pixel, x.pixel, x.channels, weight,
                  products + column * kRgbProducts);
  }
}

}  // namespace
}  // namespace ranksrgan::avx512::convolve_to_rgb

ranksrgan::RgbRow* ranksrgan::rgb_row_avx512(const Map& x) {
  using namespace avx512::convolve_to_rgb;
  if (!avx512::is_able()) return nullptr;
  return x.half ? give_row<true> : give_row<false>;
}

#endif
