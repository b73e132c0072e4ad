// The image is read once: a block of threads takes the levels of one block of the image into shared
// memory and computes both scales from them, a slab of rows at a time.
#include "../luma.h"
#include "local_statistics.cuh"
#include "nss_features_kernel.h"

namespace ranksrgan {
namespace {

constexpr int kNssThreads = 256;
constexpr int kWarp = 32;
constexpr int kWarps = kNssThreads / kWarp;
constexpr int kSlab = 8;
constexpr int kHalfBlock = kBlock / 2;

template <int side, typename Real>
struct Slab {
  double sums[kSlab][side + 2 * kReach];
  double squares[kSlab][side + 2 * kReach];
  Real first[side];   // row of the block
  Real before[side];  // the row before this slab
  Real values[kSlab][side];
};

// Sums over the pixels of one thread.
template <typename Real>
struct Partial {
  Real absolute, below, above;
  int count_below, count_above;
};

template <typename Real>
struct Shared {
  uint8_t levels[kPatch][kPatch];
  Moments of_warps[kWarps][kMaps];
  Moments of_block[2][kMaps];
  union {
    Slab<kBlock, Real> full;
    struct {
      double pixels[kHalfBlock + 2 * kReach][kHalfBlock + 2 * kReach];
      Slab<kHalfBlock, Real> slab;
    } half;
  };
};

__device__ inline double root(double value) { return __dsqrt_rn(value); }
__device__ inline float root(float value) { return __fsqrt_rn(value); }

template <typename Real>
__device__ inline void add(Real value, Partial<Real>& partial) {
  const Real square = value * value;
  partial.absolute += value < 0 ? -value : value;
  if (value < 0) {
    partial.below += square;
    ++partial.count_below;
  } else if (value > 0) {
    partial.above += square;
    ++partial.count_above;
  }
}

template <typename T>
__device__ inline T warp_sum(T value) {
  for (int half = kWarp / 2; half > 0; half /= 2) {
    value += __shfl_down_sync(0xffffffffu, value, half);
  }
  return value;
}

// found: the moments of a block of side x side; read(y, x) is the pixel kReach above and to the left
// of (y, x) of the block. All threads take part, and are in step afterwards.
template <int side, typename Real, typename Read>
__device__ void block_moments(Read read, Slab<side, Real>& slab, Moments (*of_warps)[kMaps],
                              Moments* found) {
  constexpr int wide = side + 2 * kReach;
  Partial<Real> partial[kMaps] = {};
  const auto across = [&](Real value, const Real* above, int x) {
    add(value * above[x], partial[2]);
    add(value * above[x == 0 ? side - 1 : x - 1], partial[3]);
    add(value * above[x == side - 1 ? 0 : x + 1], partial[4]);
  };
  for (int top = 0; top < side; top += kSlab) {
    for (int k = threadIdx.x; k < kSlab * wide; k += kNssThreads) {
      const int y = k / wide, x = k % wide;
      const double a0 = read(top + y, x), a1 = read(top + y + 1, x), a2 = read(top + y + 2, x);
      const double a3 = read(top + y + 3, x), a4 = read(top + y + 4, x);
      const double a5 = read(top + y + 5, x), a6 = read(top + y + 6, x);
      slab.sums[y][x] = weigh(a0, a1, a2, a3, a4, a5, a6);
      slab.squares[y][x] = weigh(square(a0), square(a1), square(a2), square(a3), square(a4),
                                 square(a5), square(a6));
    }
    if (top > 0 && threadIdx.x < side) {
      slab.before[threadIdx.x] = slab.values[kSlab - 1][threadIdx.x];
    }
    __syncthreads();
    for (int k = threadIdx.x; k < kSlab * side; k += kNssThreads) {
      const int y = k / side, x = k % side;
      const double *s = &slab.sums[y][x], *q = &slab.squares[y][x];
      const double mean = weigh(s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
      const double of_squares = weigh(q[0], q[1], q[2], q[3], q[4], q[5], q[6]);
      const Real deviation = root(static_cast<Real>(fabs(__dsub_rn(of_squares, square(mean)))));
      const double difference = __dsub_rn(read(top + y + kReach, x + kReach), mean);
      const double snapped = fabs(difference) < kSnap ? 0.0 : difference;
      const Real value = static_cast<Real>(snapped) / (deviation + static_cast<Real>(1));
      slab.values[y][x] = value;
      if (top + y == 0) slab.first[x] = value;
    }
    __syncthreads();
    for (int k = threadIdx.x; k < kSlab * side; k += kNssThreads) {
      const int y = k / side, x = k % side;
      const Real value = slab.values[y][x];
      add(value, partial[0]);
      add(value * slab.values[y][x == 0 ? side - 1 : x - 1], partial[1]);
      if (top + y > 0) across(value, y == 0 ? slab.before : slab.values[y - 1], x);
    }
    __syncthreads();
  }
  // The neighbours above the first row are in the last.
  if (threadIdx.x < side) across(slab.first[threadIdx.x], slab.values[kSlab - 1], threadIdx.x);

  for (int map = 0; map < kMaps; ++map) {
    const Moments sum = {warp_sum(static_cast<double>(partial[map].absolute)),
                         warp_sum(static_cast<double>(partial[map].below)),
                         warp_sum(static_cast<double>(partial[map].above)),
                         warp_sum(partial[map].count_below), warp_sum(partial[map].count_above)};
    if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp][map] = sum;
  }
  __syncthreads();
  if (threadIdx.x < kMaps) {
    Moments total = {};
    for (int warp = 0; warp < kWarps; ++warp) {
      const Moments& sum = of_warps[warp][threadIdx.x];
      total.absolute += sum.absolute;
      total.below += sum.below;
      total.above += sum.above;
      total.count_below += sum.count_below;
      total.count_above += sum.count_above;
    }
    found[threadIdx.x] = total;
  }
  __syncthreads();
}

__device__ inline int weigh_half(int a0, int a1, int a2, int a3, int a4, int a5, int a6, int a7) {
  return kHalf0 * (a0 + a7) + kHalf1 * (a1 + a6) + kHalf2 * (a2 + a5) +
         kHalf3 * (a3 + a4);
}

// One block of threads for each block of each image.
template <typename Sample, typename Real>
__global__ void __launch_bounds__(kNssThreads)
    nss_features_kernel(const Sample* __restrict__ images, BlockGrid grid, AggdTable table,
                        bool gray, double* __restrict__ features) {
  __shared__ Shared<Real> shared;
  const int64_t height = grid.height(), width = grid.width();
  const int64_t block = blockIdx.x % grid.blocks();
  const int64_t top = block / grid.columns * kBlock, left = block % grid.columns * kBlock;
  const int64_t area = grid.image_height * grid.image_width;
  const Sample* image = images + blockIdx.x / grid.blocks() * grid.channels * area;

  for (int k = threadIdx.x; k < kPatch * kPatch; k += kNssThreads) {
    const int y = k / kPatch, x = k % kPatch;
    const Sample* pixel =
        image + (grid.border + mirrored(top + y - kMargin, height)) * grid.image_width +
        grid.border + mirrored(left + x - kMargin, width);
    const int red = level(pixel[0]);
    if (grid.channels == 1) {
      shared.levels[y][x] = static_cast<uint8_t>(red);
    } else {
      const int green = level(pixel[area]), blue = level(pixel[2 * area]);
      shared.levels[y][x] = gray ? luma_gray(red, green, blue) : luma_y(red, green, blue);
    }
  }
  __syncthreads();

  block_moments<kBlock>(
      [&](int y, int x) {
        const int64_t row = inside(top + y - kReach, height) - top;
        const int64_t column = inside(left + x - kReach, width) - left;
        return static_cast<double>(shared.levels[row + kMargin][column + kMargin]);
      },
      shared.full, shared.of_warps, shared.of_block[0]);

  constexpr int wide = kHalfBlock + 2 * kReach;
  for (int k = threadIdx.x; k < wide * wide; k += kNssThreads) {
    const int64_t row = inside(top / 2 + k / wide - kReach, height / 2) - top / 2;
    const int64_t column = inside(left / 2 + k % wide - kReach, width / 2) - left / 2;
    // From three levels before the pair that the pixel lies between.
    const int64_t first = 2 * row - 3 + kMargin, across = 2 * column - 3 + kMargin;
    int sums[8];
    for (int j = 0; j < 8; ++j) {
      const uint8_t* a = &shared.levels[first + j][across];
      sums[j] = weigh_half(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    }
    shared.half.pixels[k / wide][k % wide] =
        weigh_half(sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]) *
        kHalfScale;
  }
  __syncthreads();
  block_moments<kHalfBlock>([&](int y, int x) { return shared.half.pixels[y][x]; },
                            shared.half.slab, shared.of_warps, shared.of_block[1]);

  if (threadIdx.x < 2 * kMaps) {
    const int scale = threadIdx.x / kMaps, map = threadIdx.x % kMaps;
    const int64_t count = scale == 0 ? kBlock * kBlock : kHalfBlock * kHalfBlock;
    put_features(map, fit_aggd(shared.of_block[scale][map], count, table),
                 features + (blockIdx.x * 2 + scale) * kFeatures);
  }
}

}  // namespace

template <typename Sample>
void launch_nss_features(const Sample* images, const BlockGrid& grid, const AggdTable& table,
                         bool gray, bool single, double* features, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>(grid.batch * grid.blocks());
  if (single) {
    nss_features_kernel<Sample, float>
        <<<blocks, kNssThreads, 0, stream>>>(images, grid, table, gray, features);
  } else {
    nss_features_kernel<Sample, double>
        <<<blocks, kNssThreads, 0, stream>>>(images, grid, table, gray, features);
  }
}

template void launch_nss_features(const uint8_t*, const BlockGrid&, const AggdTable&, bool, bool,
                                  double*, cudaStream_t);
template void launch_nss_features(const float*, const BlockGrid&, const AggdTable&, bool, bool,
                                  double*, cudaStream_t);
template void launch_nss_features(const double*, const BlockGrid&, const AggdTable&, bool, bool,
                                  double*, cudaStream_t);

}  // namespace ranksrgan
