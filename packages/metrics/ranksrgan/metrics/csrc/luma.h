// The luma that NIQE is defined on, as ranksrgan.metrics.luma has it: 8-bit levels, the sums in its
// order, rounded half upwards. For the CPU and the CUDA kernels.
#pragma once

#include <cstdint>
#include <type_traits>

#include "anywhere.h"
#include "window.h"

namespace ranksrgan {
namespace {

// MATLAB's rgb2ycbcr for 8-bit images.
constexpr double kYRed = 65.481 * (1.0 / 255);
constexpr double kYGreen = 128.553 * (1.0 / 255);
constexpr double kYBlue = 24.966 * (1.0 / 255);
constexpr double kYBlack = 16;

// What is not negative, rounded half upwards.
RANKSRGAN_ANYWHERE inline int rounded(double value) { return static_cast<int>(value + 0.5); }

// A sample, 0..255 or in [0, 1], as one of 256 levels. Anything else becomes the nearest of them.
template <typename Sample>
RANKSRGAN_ANYWHERE inline int level(Sample sample) {
  if constexpr (std::is_floating_point_v<Sample>) {
    sample = sample > Sample{0} ? sample : Sample{0};  // also what is not a number
    sample = sample < Sample{1} ? sample : Sample{1};
    return rounded(static_cast<double>(sample) * 255.0);
  } else {
    return sample;
  }
}

RANKSRGAN_ANYWHERE inline uint8_t luma_y(int red, int green, int blue) {
  return static_cast<uint8_t>(rounded(kYBlue * blue + kYGreen * green + kYRed * red + kYBlack));
}

RANKSRGAN_ANYWHERE inline uint8_t luma_gray(int red, int green, int blue) {
  return static_cast<uint8_t>(rounded(kRed * red + kGreen * green + kBlue * blue));
}

}  // namespace
}  // namespace ranksrgan
