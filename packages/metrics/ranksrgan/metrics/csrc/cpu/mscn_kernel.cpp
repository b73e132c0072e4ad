#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include "../mscn.h"
#include "local_statistics.h"

namespace ranksrgan::mscn {
namespace {

// Pixels below which another thread costs more than it saves.
constexpr int64_t kGrain = 32768;

// planes, normalised, mean, deviation: (batch, height, width)
template <typename Sample>
void mscn_kernel(const Sample* planes, int64_t batch, int64_t height, int64_t width,
                 Sample* normalised, Sample* mean, Sample* deviation) {
  const int64_t grain = std::max<int64_t>(1, kGrain / width);
  // A row depends on no other result, so the values do not depend on how rows are shared out.
  at::parallel_for(0, batch * height, grain, [&](int64_t begin, int64_t end) {
    RowBuffer buffer(width);
    std::vector<double> row_mean(width), row_deviation(width);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t y = row % height;
      const Sample* plane = planes + (row - y) * width;
      local_statistics(plane, height, width, y, buffer, row_mean.data(), row_deviation.data());
      const Sample* in = planes + row * width;
      const double* mu = row_mean.data();
      const double* sigma = row_deviation.data();
      Sample* __restrict out = normalised + row * width;
      Sample* __restrict out_mean = mean + row * width;
      Sample* __restrict out_deviation = deviation + row * width;
      for (int64_t x = 0; x < width; ++x) {
        const double difference = static_cast<double>(in[x]) - mu[x];
        const double snapped = std::fabs(difference) < kSnap ? 0.0 : difference;
        out[x] = static_cast<Sample>(snapped / (sigma[x] + 1.0));
        out_mean[x] = static_cast<Sample>(mu[x]);
        out_deviation[x] = static_cast<Sample>(sigma[x]);
      }
    }
  });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mscn_cpu(const at::Tensor& planes) {
  check_planes(planes);
  const at::Tensor input = planes.contiguous();
  at::Tensor normalised = at::empty_like(input);
  at::Tensor mean = at::empty_like(input);
  at::Tensor deviation = at::empty_like(input);
  const int64_t batch = input.size(0), height = input.size(1), width = input.size(2);
  if (input.scalar_type() == at::kDouble) {
    mscn_kernel(input.const_data_ptr<double>(), batch, height, width,
                normalised.data_ptr<double>(), mean.data_ptr<double>(),
                deviation.data_ptr<double>());
  } else {
    mscn_kernel(input.const_data_ptr<float>(), batch, height, width, normalised.data_ptr<float>(),
                mean.data_ptr<float>(), deviation.data_ptr<float>());
  }
  return {normalised, mean, deviation};
}

}  // namespace
}  // namespace ranksrgan::mscn

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) { m.impl("mscn", ranksrgan::mscn::mscn_cpu); }
