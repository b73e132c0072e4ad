#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "ma_lanes.h"  // first: the templates of the next use its functions

#include "../ma_dct.h"

namespace ranksrgan::ma::ma_dct {
namespace {

// Rows of windows below which another thread costs more than it saves.
constexpr int64_t kGrain = 8;

// A row of samples taken apart, so that the samples of windows side by side lie side by side:
// sample j of window b is phases[j % 3][b + j / 3].
struct Phases {
  explicit Phases(int64_t columns) {
    for (auto& phase : phases) phase.resize(columns + kPack + kWindow / kStride);
  }
  void sample(int64_t position, double value) {
    phases[position % kStride][position / kStride] = value;
  }
  Pack windows(int64_t first, int j) const { return load(&phases[j % kStride][first + j / kStride]); }
  std::vector<double> phases[kStride];
};

// The vertical transform of one row of windows. plane: (height, width)
void transform_columns(const double* plane, int64_t height, int64_t width, int64_t top,
                       const double* zeros, std::vector<Phases>& frequencies) {
  const double* rows[kWindow];
  for (int k = 0; k < kWindow; ++k) {
    const int64_t y = top + k;
    rows[k] = y >= 0 && y < height ? plane + y * width : zeros;
  }
  for (int64_t x = 0; x < width; ++x) {
    double samples[kWindow], found[kWindow];
    for (int k = 0; k < kWindow; ++k) samples[k] = rows[k][x];
    dct(samples, found);
    for (int u = 0; u < kWindow; ++u) frequencies[u].sample(x + kMargin, found[u]);
  }
}

// planes: (batch, height, width); the results: (batch, rows, columns)
void ma_dct_kernel(const double* planes, int64_t batch, int64_t height, int64_t width,
                   double* ratio, double* variation, double* orientation) {
  const int64_t rows = windows_along(height), columns = windows_along(width);
  const std::vector<double> zeros(width, 0.0);
  // A window depends on no other, so the values do not depend on how rows are shared out.
  at::parallel_for(0, batch * rows, kGrain, [&](int64_t begin, int64_t end) {
    std::vector<Phases> frequencies(kWindow, Phases(columns));
    for (int64_t row = begin; row < end; ++row) {
      transform_columns(planes + row / rows * height * width, height, width,
                        row % rows * kStride - kMargin, zeros.data(), frequencies);
      for (int64_t first = 0; first < columns; first += kPack) {
        Pack coefficients[kCoefficients];
        for (int u = 0; u < kWindow; ++u) {
          Pack samples[kWindow];
          for (int j = 0; j < kWindow; ++j) samples[j] = frequencies[u].windows(first, j);
          dct(samples, coefficients + u * kWindow);
        }
        const WindowStatistics<Pack> found = window_statistics(coefficients);
        const int64_t at = row * columns + first, count = std::min<int64_t>(kPack, columns - first);
        for (int64_t k = 0; k < count; ++k) {
          ratio[at + k] = found.ratio[k];
          variation[at + k] = found.variation[k];
          orientation[at + k] = found.orientation[k];
        }
      }
    }
  });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> ma_dct_cpu(const at::Tensor& planes) {
  check_ma_dct(planes);
  const at::Tensor input = planes.contiguous();
  at::Tensor ratio = empty_statistic(input);
  at::Tensor variation = empty_statistic(input);
  at::Tensor orientation = empty_statistic(input);
  ma_dct_kernel(input.const_data_ptr<double>(), input.size(0), input.size(1), input.size(2),
                ratio.data_ptr<double>(), variation.data_ptr<double>(),
                orientation.data_ptr<double>());
  return {ratio, variation, orientation};
}

}  // namespace
}  // namespace ranksrgan::ma::ma_dct

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) { m.impl("ma_dct", ranksrgan::ma::ma_dct::ma_dct_cpu); }
