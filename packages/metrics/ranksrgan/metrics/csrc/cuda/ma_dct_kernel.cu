#include "../ma_dct_window.h"
#include "ma_dct_kernel.h"

namespace ranksrgan {

using namespace ma;

namespace {

constexpr int kThreads = 128;

// One thread for each window.
__global__ void __launch_bounds__(kThreads)
    ma_dct_kernel(const double* __restrict__ planes, int64_t count, int64_t rows, int64_t columns,
                  int64_t height, int64_t width, double* __restrict__ ratio,
                  double* __restrict__ variation, double* __restrict__ orientation) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= count) return;
  const int64_t top = index / columns % rows * kStride - kMargin;
  const int64_t left = index % columns * kStride - kMargin;
  const double* plane = planes + index / (columns * rows) * height * width;

  double vertical[kWindow][kWindow];  // by frequency and column
  for (int x = 0; x < kWindow; ++x) {
    double samples[kWindow], found[kWindow];
    for (int y = 0; y < kWindow; ++y) {
      const bool inside = top + y >= 0 && top + y < height && left + x >= 0 && left + x < width;
      samples[y] = inside ? plane[(top + y) * width + left + x] : 0.0;
    }
    dct(samples, found);
    for (int u = 0; u < kWindow; ++u) vertical[u][x] = found[u];
  }
  double coefficients[kCoefficients];
  for (int u = 0; u < kWindow; ++u) dct(vertical[u], coefficients + u * kWindow);
  const WindowStatistics<double> found = window_statistics(coefficients);
  ratio[index] = found.ratio;
  variation[index] = found.variation;
  orientation[index] = found.orientation;
}

}  // namespace

void launch_ma_dct(const double* planes, int64_t batch, int64_t height, int64_t width,
                   double* ratio, double* variation, double* orientation, cudaStream_t stream) {
  const int64_t rows = windows_along(height), columns = windows_along(width);
  const int64_t count = batch * rows * columns;
  ma_dct_kernel<<<static_cast<unsigned>((count + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
      planes, count, rows, columns, height, width, ratio, variation, orientation);
}

}  // namespace ranksrgan
