#include <type_traits>

#include "local_statistics.cuh"
#include "patch_crops_kernel.h"

namespace ranksrgan {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = kThreads / kWarp;

// A block measures a part of a crop, as wide as a tile and so many tiles high.
constexpr int kTilesDown = 4;
constexpr int kPartY = kTilesDown * kTileY;

__host__ __device__ constexpr int64_t parts_along(int64_t size, int64_t part) {
  return (size + part - 1) / part;
}

// The sum of a warp's values, in an order that is always the same; valid in lane 0.
__device__ double warp_sum(double value) {
  for (int reach = kWarp / 2; reach > 0; reach /= 2) {
    value += __shfl_down_sync(0xffffffff, value, reach);
  }
  return value;
}

// Where a crop begins in its image.
template <typename Sample>
__device__ const Sample* corner_of(const Sample* images, const CropShape& shape, int64_t crop) {
  const int64_t image = crop / shape.positions, position = crop % shape.positions;
  const int64_t top = position / shape.columns * shape.stride;
  const int64_t left = position % shape.columns * shape.stride;
  return images + (image * shape.channels * shape.height + top) * shape.width + left;
}

// Several blocks for each crop, for the crops alone are too few to fill a GPU. Each copies its share
// of the crop's rows, a warp a row, and sums the deviations in its part of the crop.
template <typename Sample>
__global__ void __launch_bounds__(kThreads)
    cut_and_measure(const Sample* __restrict__ images, CropShape shape, int64_t parts,
                    Sample* __restrict__ crops, double* __restrict__ sums) {
  __shared__ Tile tile;
  __shared__ double of_warps[kWarps];
  const int64_t size = shape.size, plane = shape.height * shape.width;
  const int64_t crop = blockIdx.x / parts, part = blockIdx.x % parts;
  const Sample* corner = corner_of(images, shape, crop);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;

  Sample* cut = crops + crop * shape.channels * size * size;
  for (int64_t row = part * kWarps + warp; row < shape.channels * size; row += parts * kWarps) {
    const Sample* from = corner + row / size * plane + row % size * shape.width;
    Sample* to = cut + row * size;
    for (int64_t x = lane; x < size; x += kWarp) to[x] = from[x];
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
  const int64_t across = parts_along(size, kTileX);
  const int64_t left = part % across * kTileX, top = part / across * kPartY;
  const int64_t bottom = top + kPartY < size ? top + kPartY : size;
  double total = 0.0;
  for (int64_t y = top; y < bottom; y += kTileY) {
    double mean, deviation;
    tile_statistics(grey, size, size, y, left, tile, mean, deviation);
    if (y + threadIdx.x / kTileX < size && left + threadIdx.x % kTileX < size) total += deviation;
    __syncthreads();
  }
  total = warp_sum(total);
  if (lane == 0) of_warps[warp] = total;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int k = 1; k < kWarps; ++k) total += of_warps[k];
    sums[blockIdx.x] = total;
  }
}

// A warp for each crop: the mean deviation from the sums of its parts.
__global__ void __launch_bounds__(kWarp)
    mean_of_parts(const double* __restrict__ sums, int64_t parts, double area,
                  double* __restrict__ sharpness) {
  double total = 0.0;
  for (int64_t k = threadIdx.x; k < parts; k += kWarp) total += sums[blockIdx.x * parts + k];
  total = warp_sum(total);
  if (threadIdx.x == 0) sharpness[blockIdx.x] = total / area;
}

}  // namespace

int64_t patch_crops_parts(int64_t size) {
  return parts_along(size, kTileX) * parts_along(size, kPartY);
}

template <typename Sample>
void launch_patch_crops(const Sample* images, const CropShape& shape, Sample* crops, double* sums,
                        double* sharpness, cudaStream_t stream) {
  const int64_t count = shape.batch * shape.positions, parts = patch_crops_parts(shape.size);
  cut_and_measure<<<static_cast<unsigned>(count * parts), kThreads, 0, stream>>>(
      images, shape, parts, crops, sums);
  mean_of_parts<<<static_cast<unsigned>(count), kWarp, 0, stream>>>(
      sums, parts, static_cast<double>(shape.size * shape.size), sharpness);
}

template void launch_patch_crops(const uint8_t*, const CropShape&, uint8_t*, double*, double*,
                                 cudaStream_t);
template void launch_patch_crops(const float*, const CropShape&, float*, double*, double*,
                                 cudaStream_t);
template void launch_patch_crops(const double*, const CropShape&, double*, double*, double*,
                                 cudaStream_t);

}  // namespace ranksrgan
