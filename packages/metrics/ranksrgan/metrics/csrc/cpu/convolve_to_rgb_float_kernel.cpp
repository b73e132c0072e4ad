#ifdef __x86_64__  // elsewhere there is no kernel

#include "../convolve_to_rgb.h"
#include "avx2.h"

namespace ranksrgan::avx2::convolve_to_rgb {
namespace {

static_assert(kOutputs == kRgbProducts);

void give_row(const Map& x, int64_t y, const float* weight, float* products) {
  const auto* row = reinterpret_cast<const float*>(x.data) + y * x.row;
  multiply(row, x.pixel, weight, x.channels, x.width, products);
}

}  // namespace
}  // namespace ranksrgan::avx2::convolve_to_rgb

ranksrgan::RgbRow* ranksrgan::rgb_row_avx2(const Map& x) {
  return avx2::is_able() && !x.half ? avx2::convolve_to_rgb::give_row : nullptr;
}

#endif
