// The half-size image of a patch: MATLAB's bicubic imresize with antialiasing.
#pragma once

#include <cstdint>

#include "../blocks.h"

namespace ranksrgan {
namespace {

// A row of a patch, padded to whole registers.
constexpr int kPatchColumns = 128;
using PatchRow = int16_t[kPatchColumns];

// row: `count` pixels of the half-size image, times 65536. Pixel k lies between columns 2k + 3 and
// 2k + 4 of the patch, and is made of columns 2k to 2k + 7 of eight of its rows, the first of which
// is rows[0].
template <int count>
inline void halve_rows(const PatchRow* rows, int32_t (&row)[count]) {
  constexpr int needed = 2 * count + 6;
  static_assert(needed <= kPatchColumns);
  int32_t vertical[kPatchColumns], even[needed / 2], odd[needed / 2];
  for (int x = 0; x < kPatchColumns; ++x) {
    // In 16 bits, twice as many at a time. That the middle pair fits is why 256 is taken off it.
    const int16_t middle = kHalf3 * (rows[3][x] + rows[4][x] - 256);
    const int16_t others = kHalf2 * (rows[2][x] + rows[5][x]) +
                           kHalf1 * (rows[1][x] + rows[6][x]) +
                           kHalf0 * (rows[0][x] + rows[7][x]);
    vertical[x] = middle + others + 256 * kHalf3;
  }
  for (int k = 0; k < needed / 2; ++k) {
    even[k] = vertical[2 * k];
    odd[k] = vertical[2 * k + 1];
  }
  for (int k = 0; k < count; ++k) {
    const int32_t *e = even + k, *o = odd + k;
    row[k] = kHalf0 * (e[0] + o[3]) + kHalf1 * (o[0] + e[3]) +
             kHalf2 * (e[1] + o[2]) + kHalf3 * (o[1] + e[2]);
  }
}

}  // namespace
}  // namespace ranksrgan
