// The features of one block, at both scales, from the levels of the whole plane.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../blocks.h"
#include "block_moments.h"
#include "half_size.h"

namespace ranksrgan {
namespace {

// Bytes before and after a plane of levels that may be read; what they hold does not matter.
constexpr int64_t kSlack = kPatchColumns;

// What a thread needs to compute the features of blocks of a plane of levels (height, width).
template <typename Real>
class BlockFeatures {
  using Full = BlockMoments<kBlock, Real>;
  using Half = BlockMoments<kBlock / 2, Real>;

 public:
  BlockFeatures(const AggdTable& table, int64_t height, int64_t width)
      : table_(table), height_(height), width_(width) {}

  // plane: with kSlack bytes before and after it; features: the 36 of the block at (row, column) of the grid.
  void compute(const uint8_t* plane, int64_t row, int64_t column, double* features) {
    Moments moments[kMaps];
    fill_patch(plane, row * kBlock - kMargin, column * kBlock - kMargin);
    fill_full(row * kBlock, column * kBlock);
    full_.moments(moments);
    fit(moments, kBlock, features);
    fill_half(row * (kBlock / 2), column * (kBlock / 2));
    half_.moments(moments);
    fit(moments, kBlock / 2, features + kFeatures);
  }

 private:
  void fit(const Moments (&moments)[kMaps], int64_t side, double* features) const {
    for (int k = 0; k < kMaps; ++k) {
      put_features(k, fit_aggd(moments[k], side * side, table_), features);
    }
  }

  // top, left: of the patch, which may lie outside the plane.
  void fill_patch(const uint8_t* plane, int64_t top, int64_t left) {
    const int64_t begin = std::max<int64_t>(0, -left);
    const int64_t end = std::min<int64_t>(kPatch, width_ - left);
    for (int k = 0; k < kPatch; ++k) {
      // Whole registers, of other rows where there is none, and then the mirror image over these.
      const uint8_t* row = plane + mirrored(top + k, height_) * width_ + left;
      int16_t* __restrict patch = patch_[k];
      for (int x = 0; x < kPatchColumns; ++x) patch[x] = row[x];
      for (int64_t x = 0; x < begin; ++x) patch[x] = patch[2 * begin - 1 - x];
      for (int64_t x = end; x < kPatch; ++x) patch[x] = patch[2 * end - 1 - x];
    }
  }

  // top, left: of the block in its plane.
  void fill_full(int64_t top, int64_t left) {
    for (int k = 0; k < Full::kPixelRows; ++k) {
      const int64_t y = std::clamp<int64_t>(top + k - kReach, 0, height_ - 1);
      const int16_t* row = patch_[y - top + kMargin] + kMargin - kReach;
      double* __restrict pixels = full_.pixels(k);
      for (int x = 0; x < Full::kPixelColumns; ++x) pixels[x] = row[x];
      repeat_ends(pixels, left, width_, Full::kPixelColumns);
    }
  }

  void fill_half(int64_t top, int64_t left) {
    const int64_t height = height_ / 2, width = width_ / 2;
    int32_t row[Half::kPixelColumns];
    for (int k = 0; k < Half::kPixelRows; ++k) {
      const int64_t y = std::clamp<int64_t>(top + k - kReach, 0, height - 1);
      halve_rows(patch_ + 2 * (y - top + kReach), row);
      double* __restrict pixels = half_.pixels(k);
      for (int x = 0; x < Half::kPixelColumns; ++x) pixels[x] = row[x] * kHalfScale;
      repeat_ends(pixels, left, width, Half::kPixelColumns);
    }
  }

  // pixels: `count` of a row of `width`, from kReach before `left`; those beyond the row's ends
  // become its ends.
  static void repeat_ends(double* pixels, int64_t left, int64_t width, int64_t count) {
    const int64_t begin = std::max<int64_t>(0, kReach - left);
    const int64_t end = std::min<int64_t>(count, width + kReach - left);
    for (int64_t x = 0; x < begin; ++x) pixels[x] = pixels[begin];
    for (int64_t x = end; x < count; ++x) pixels[x] = pixels[end - 1];
  }

  AggdTable table_;
  int64_t height_, width_;
  alignas(64) PatchRow patch_[kPatch];
  Full full_;
  Half half_;
};

}  // namespace
}  // namespace ranksrgan
