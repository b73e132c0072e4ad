#include "local_statistics.cuh"
#include "mscn_kernel.h"

namespace ranksrgan {
namespace {

__host__ __device__ inline int64_t tiles(int64_t length, int64_t tile) {
  return (length + tile - 1) / tile;
}

// One block for each tile of each plane.
template <typename Sample>
__global__ void __launch_bounds__(kThreads)
    mscn_kernel(const Sample* __restrict__ planes, int64_t height, int64_t width,
                Sample* __restrict__ normalised, Sample* __restrict__ mean,
                Sample* __restrict__ deviation) {
  __shared__ Tile tile;
  const int64_t across = tiles(width, kTileX), down = tiles(height, kTileY);
  const int64_t left = blockIdx.x % across * kTileX;
  const int64_t top = blockIdx.x / across % down * kTileY;
  const int64_t offset = blockIdx.x / (across * down) * height * width;
  const Sample* plane = planes + offset;
  const auto read = [=](int64_t y, int64_t x) {
    return static_cast<double>(plane[y * width + x]);
  };
  double mu, sigma;
  tile_statistics(read, height, width, top, left, tile, mu, sigma);
  const int64_t y = top + threadIdx.x / kTileX, x = left + threadIdx.x % kTileX;
  if (y >= height || x >= width) return;
  const int64_t at = y * width + x;
  const double difference = __dsub_rn(read(y, x), mu);
  const double snapped = fabs(difference) < kSnap ? 0.0 : difference;
  normalised[offset + at] = static_cast<Sample>(__ddiv_rn(snapped, __dadd_rn(sigma, 1.0)));
  mean[offset + at] = static_cast<Sample>(mu);
  deviation[offset + at] = static_cast<Sample>(sigma);
}

}  // namespace

template <typename Sample>
void launch_mscn(const Sample* planes, int64_t batch, int64_t height, int64_t width,
                 Sample* normalised, Sample* mean, Sample* deviation, cudaStream_t stream) {
  const int64_t blocks = batch * tiles(height, kTileY) * tiles(width, kTileX);
  mscn_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      planes, height, width, normalised, mean, deviation);
}

template void launch_mscn(const float*, int64_t, int64_t, int64_t, float*, float*, float*,
                          cudaStream_t);
template void launch_mscn(const double*, int64_t, int64_t, int64_t, double*, double*, double*,
                          cudaStream_t);

}  // namespace ranksrgan
