// The blocks that NIQE's features are taken from, for the CPU and the CUDA kernels.
#pragma once

#include <cstdint>

#include "aggd.h"
#include "anywhere.h"

namespace ranksrgan {

// Side of a block at full size; it has half of it at half size.
constexpr int kBlock = 96;

// Levels of a block and as many around it as its half-size image needs, the image mirrored beyond
// its edges: a patch.
constexpr int kMargin = 9;
constexpr int kPatch = kBlock + 2 * kMargin;

// The values themselves, then the products with the neighbours to the left, above, above to the
// left and above to the right. Neighbours are taken around the edge of the block itself, as the
// published software does it.
constexpr int kMaps = 5;

// Of one block at one scale.
constexpr int kFeatures = 18;

// Whole blocks inside the border of each image; what they do not cover is not seen.
struct BlockGrid {
  int64_t batch, channels, image_height, image_width;
  int64_t border, rows, columns;
  RANKSRGAN_ANYWHERE int64_t blocks() const { return rows * columns; }
  RANKSRGAN_ANYWHERE int64_t height() const { return rows * kBlock; }
  RANKSRGAN_ANYWHERE int64_t width() const { return columns * kBlock; }
};

// The half-size image is MATLAB's bicubic imresize with antialiasing: each axis by these eight taps
// / 256, outermost pair first, the image mirrored beyond its edges. Levels being whole numbers, it
// is exact in integers of 32 bits, in whatever order.
constexpr int kHalf0 = -3, kHalf1 = -9, kHalf2 = 29, kHalf3 = 111;
constexpr double kHalfScale = 1.0 / 65536;

// Where the mirror image has `position` of a row of `length`, at most `length` beyond its ends.
RANKSRGAN_ANYWHERE inline int64_t mirrored(int64_t position, int64_t length) {
  if (position < 0) return -1 - position;
  return position < length ? position : 2 * length - 1 - position;
}

// Puts what was fitted to one of the maps among the 18 features of its scale.
RANKSRGAN_ANYWHERE inline void put_features(int map, const Aggd& fit, double* features) {
  if (map == 0) {
    features[0] = fit.alpha;
    features[1] = (fit.left + fit.right) / 2;
  } else {
    double* four = features + 4 * map - 2;
    four[0] = fit.alpha;
    four[1] = fit.mean;
    four[2] = fit.left;
    four[3] = fit.right;
  }
}

}  // namespace ranksrgan
