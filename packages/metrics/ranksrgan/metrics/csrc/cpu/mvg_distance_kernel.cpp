#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../mvg_distance.h"

namespace ranksrgan {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

// Images below which another thread costs more than it saves.
constexpr int64_t kImageGrain = 16;

// The Gaussian of the rows (count, size) of one image, as nanmean and nancov have it: a feature's
// mean leaves out its own gaps, the covariance whole rows with a gap.
class Gaussian {
 public:
  explicit Gaussian(int64_t size) : mean(size), covariance(size * size), centre_(size), row_(size) {}

  // False if fewer than two rows have no gap.
  bool estimate(const double* rows, int64_t count) {
    const int64_t size = static_cast<int64_t>(mean.size());
    whole_.clear();
    for (int64_t r = 0; r < count; ++r) {
      bool finite = true;
      for (int64_t k = 0; k < size; ++k) finite &= std::isfinite(rows[r * size + k]);
      if (finite) whole_.push_back(rows + r * size);
    }
    if (whole_.size() < 2) return false;
    for (int64_t k = 0; k < size; ++k) {
      double total = 0;
      int64_t present = 0;
      for (int64_t r = 0; r < count; ++r) {
        const double value = rows[r * size + k];
        if (std::isnan(value)) continue;
        total += value;
        ++present;
      }
      mean[k] = total / static_cast<double>(present);
    }
    const double many = static_cast<double>(whole_.size());
    std::fill(centre_.begin(), centre_.end(), 0.0);
    for (const double* row : whole_) {
      for (int64_t k = 0; k < size; ++k) centre_[k] += row[k];
    }
    for (double& value : centre_) value /= many;
    std::fill(covariance.begin(), covariance.end(), 0.0);
    for (const double* row : whole_) {
      for (int64_t k = 0; k < size; ++k) row_[k] = row[k] - centre_[k];
      for (int64_t i = 0; i < size; ++i) {
        const double factor = row_[i];
        const double* __restrict other = row_.data();
        double* __restrict sums = covariance.data() + i * size;
        for (int64_t j = 0; j < size; ++j) sums[j] += factor * other[j];
      }
    }
    for (double& value : covariance) value /= many - 1;
    return true;
  }

  std::vector<double> mean, covariance;

 private:
  std::vector<const double*> whole_;
  std::vector<double> centre_, row_;
};

// sqrt(d' A^-1 d) for a positive definite A (size, size), by its Cholesky factor; d is overwritten
// by the solution of L x = d, and A's lower half by L. NaN if A is not positive definite.
double whitened_length(double* a, double* d, int64_t size) {
  double total = 0;
  for (int64_t j = 0; j < size; ++j) {
    const double pivot = a[j * size + j];
    if (!(pivot > 0)) return kUndefined;
    const double root = std::sqrt(pivot);
    d[j] /= root;
    total += d[j] * d[j];
    // The column of L, stored as the row of the symmetric A, where the updates run along it.
    double* __restrict column = a + j * size;
    for (int64_t i = j + 1; i < size; ++i) column[i] /= root;
    for (int64_t i = j + 1; i < size; ++i) {
      d[i] -= column[i] * d[j];
      double* __restrict row = a + i * size;
      for (int64_t k = i; k < size; ++k) row[k] -= column[i] * column[k];
    }
  }
  return std::sqrt(total);
}

at::Tensor mvg_distance_cpu(const at::Tensor& features, const at::Tensor& mean,
                            const at::Tensor& covariance) {
  check_mvg(features, mean, covariance);
  const at::Tensor rows = features.contiguous(), centre = mean.contiguous(),
                   shape = covariance.contiguous();
  const int64_t batch = rows.size(0), count = rows.size(1), size = rows.size(2);
  at::Tensor distances = at::empty({batch}, rows.options());
  const double* in = rows.const_data_ptr<double>();
  const double* model_mean = centre.const_data_ptr<double>();
  const double* model_covariance = shape.const_data_ptr<double>();
  double* out = distances.data_ptr<double>();
  at::parallel_for(0, batch, kImageGrain, [&](int64_t begin, int64_t end) {
    Gaussian image(size);
    for (int64_t index = begin; index < end; ++index) {
      if (!image.estimate(in + index * count * size, count)) {
        out[index] = kUndefined;
        continue;
      }
      for (int64_t k = 0; k < size; ++k) image.mean[k] = model_mean[k] - image.mean[k];
      for (int64_t k = 0; k < size * size; ++k) {
        image.covariance[k] = (model_covariance[k] + image.covariance[k]) / 2;
      }
      out[index] = whitened_length(image.covariance.data(), image.mean.data(), size);
    }
  });
  return distances;
}

}  // namespace
}  // namespace ranksrgan

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) { m.impl("mvg_distance", ranksrgan::mvg_distance_cpu); }
