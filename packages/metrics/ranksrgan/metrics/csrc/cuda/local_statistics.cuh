// Local mean and deviation of a tile of a plane, shared by mscn and patch_crops.
//
// The same sums in the same order as cpu/local_statistics.h. The _rn intrinsics are never
// contracted to fused multiply-adds, whatever the compiler's flags.
#pragma once

#include <cstdint>

#include "../window.h"

namespace ranksrgan {
namespace {

// One thread for each pixel of a tile.
constexpr int kTileX = 32;
constexpr int kTileY = 8;
constexpr int kThreads = kTileX * kTileY;

struct Tile {
  double samples[kTileY + 2 * kReach][kTileX + 2 * kReach];
  double sums[kTileY][kTileX + 2 * kReach];
  double squares[kTileY][kTileX + 2 * kReach];
};

__device__ inline double square(double a) { return __dmul_rn(a, a); }

// One output of a pass: the seven samples, outermost pair first.
__device__ inline double weigh(double a0, double a1, double a2, double a3, double a4, double a5,
                               double a6) {
  double total = __dmul_rn(kTap0, __dadd_rn(a0, a6));
  total = __dadd_rn(total, __dmul_rn(kTap1, __dadd_rn(a1, a5)));
  total = __dadd_rn(total, __dmul_rn(kTap2, __dadd_rn(a2, a4)));
  return __dadd_rn(total, __dmul_rn(kTap3, a3));
}

__device__ inline int64_t inside(int64_t position, int64_t length) {
  return position < 0 ? 0 : (position < length ? position : length - 1);
}

// The mean and deviation at this thread's pixel of the tile at (top, left) of a plane of
// (height, width); read(y, x) is the sample there. All threads of the block take part. Ends without
// a barrier: put one before the tile is used again.
template <typename Read>
__device__ void tile_statistics(Read read, int64_t height, int64_t width, int64_t top, int64_t left,
                                Tile& tile, double& mean, double& deviation) {
  constexpr int wide = kTileX + 2 * kReach;
  constexpr int high = kTileY + 2 * kReach;
  for (int k = threadIdx.x; k < high * wide; k += kThreads) {
    const int y = k / wide, x = k % wide;
    tile.samples[y][x] =
        read(inside(top + y - kReach, height), inside(left + x - kReach, width));
  }
  __syncthreads();
  for (int k = threadIdx.x; k < kTileY * wide; k += kThreads) {
    const int y = k / wide, x = k % wide;
    const double a0 = tile.samples[y][x], a1 = tile.samples[y + 1][x];
    const double a2 = tile.samples[y + 2][x], a3 = tile.samples[y + 3][x];
    const double a4 = tile.samples[y + 4][x], a5 = tile.samples[y + 5][x];
    const double a6 = tile.samples[y + 6][x];
    tile.sums[y][x] = weigh(a0, a1, a2, a3, a4, a5, a6);
    tile.squares[y][x] = weigh(square(a0), square(a1), square(a2), square(a3), square(a4),
                               square(a5), square(a6));
  }
  __syncthreads();
  const double* s = &tile.sums[threadIdx.x / kTileX][threadIdx.x % kTileX];
  const double* q = &tile.squares[threadIdx.x / kTileX][threadIdx.x % kTileX];
  mean = weigh(s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
  const double of_squares = weigh(q[0], q[1], q[2], q[3], q[4], q[5], q[6]);
  deviation = __dsqrt_rn(fabs(__dsub_rn(of_squares, square(mean))));
}

}  // namespace
}  // namespace ranksrgan
