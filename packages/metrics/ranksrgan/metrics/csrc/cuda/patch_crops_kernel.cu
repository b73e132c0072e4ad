#include <type_traits>

#include "local_statistics.cuh"
#include "patch_crops_kernel.h"

namespace ranksrgan {
namespace {

// The sum of every thread's value, in an order that is always the same; valid in thread 0.
__device__ double block_sum(double value, double* partial) {
  partial[threadIdx.x] = value;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
  }
  return partial[0];
}

// One block for each crop.
template <typename Sample>
__global__ void __launch_bounds__(kThreads)
    patch_crops_kernel(const Sample* __restrict__ images, CropShape shape,
                       Sample* __restrict__ crops, double* __restrict__ sharpness) {
  __shared__ Tile tile;
  __shared__ double partial[kThreads];
  const int64_t size = shape.size, area = size * size;
  const int64_t plane = shape.height * shape.width;
  const int64_t image = blockIdx.x / shape.positions, position = blockIdx.x % shape.positions;
  const int64_t top = position / shape.columns * shape.stride;
  const int64_t left = position % shape.columns * shape.stride;
  const Sample* corner = images + image * shape.channels * plane + top * shape.width + left;

  Sample* crop = crops + blockIdx.x * shape.channels * area;
  for (int64_t k = threadIdx.x; k < shape.channels * area; k += kThreads) {
    const int64_t channel = k / area, y = k % area / size, x = k % size;
    crop[k] = corner[channel * plane + y * shape.width + x];
  }

  const auto grey = [=](int64_t y, int64_t x) {
    constexpr double scale = std::is_floating_point_v<Sample> ? 255.0 : 1.0;
    const Sample* pixel = corner + y * shape.width + x;
    const double red = __dmul_rn(static_cast<double>(pixel[0]), scale);
    if (shape.channels == 1) return red;
    const double green = __dmul_rn(static_cast<double>(pixel[plane]), scale);
    const double blue = __dmul_rn(static_cast<double>(pixel[2 * plane]), scale);
    return __dadd_rn(__dadd_rn(__dmul_rn(kRed, red), __dmul_rn(kGreen, green)),
                     __dmul_rn(kBlue, blue));
  };
  double total = 0.0;
  for (int64_t y = 0; y < size; y += kTileY) {
    for (int64_t x = 0; x < size; x += kTileX) {
      double mean, deviation;
      tile_statistics(grey, size, size, y, x, tile, mean, deviation);
      if (y + threadIdx.x / kTileX < size && x + threadIdx.x % kTileX < size) total += deviation;
      __syncthreads();
    }
  }
  total = block_sum(total, partial);
  if (threadIdx.x == 0) sharpness[blockIdx.x] = total / static_cast<double>(area);
}

}  // namespace

template <typename Sample>
void launch_patch_crops(const Sample* images, const CropShape& shape, Sample* crops,
                        double* sharpness, cudaStream_t stream) {
  const int64_t blocks = shape.batch * shape.positions;
  patch_crops_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(images, shape, crops,
                                                                             sharpness);
}

template void launch_patch_crops(const uint8_t*, const CropShape&, uint8_t*, double*, cudaStream_t);
template void launch_patch_crops(const float*, const CropShape&, float*, double*, cudaStream_t);
template void launch_patch_crops(const double*, const CropShape&, double*, double*, cudaStream_t);

}  // namespace ranksrgan
