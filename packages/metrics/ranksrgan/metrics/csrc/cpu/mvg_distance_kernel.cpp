#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../mvg_distance.h"

namespace ranksrgan::mvg_distance {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

// Images below which another thread costs more than it saves.
constexpr int64_t kImageGrain = 16;

// Rows of matrices are padded with zeros to whole groups, so that loops need no remainder.
constexpr int64_t kGroup = 8;

int64_t padded(int64_t size) { return (size + kGroup - 1) / kGroup * kGroup; }

// target[k] += factor * source[k] from the group that `begin` is in to the end of the rows.
inline void add_multiple(double factor, const double* __restrict source, int64_t begin,
                         int64_t stride, double* __restrict target) {
  for (int64_t k = begin / kGroup * kGroup; k < stride; k += kGroup) {
    for (int64_t j = k; j < k + kGroup; ++j) target[j] += factor * source[j];
  }
}

// The Gaussian of the rows (count, size) of one image, as nanmean and nancov have it: a feature's
// mean leaves out its own gaps, the covariance whole rows with a gap.
class Gaussian {
 public:
  explicit Gaussian(int64_t size)
      : size_(size),
        stride_(padded(size)),
        mean(stride_),
        covariance(size * stride_),
        centre_(stride_),
        present_(size),
        row_(stride_) {}

  // False if fewer than two rows have no gap.
  bool estimate(const double* rows, int64_t count) {
    whole_.clear();
    std::fill(mean.begin(), mean.end(), 0.0);
    std::fill(centre_.begin(), centre_.end(), 0.0);
    std::fill(present_.begin(), present_.end(), 0.0);
    for (int64_t r = 0; r < count; ++r) {
      const double* row = rows + r * size_;
      bool finite = true;
      for (int64_t k = 0; k < size_; ++k) finite &= std::isfinite(row[k]);
      for (int64_t k = 0; k < size_; ++k) {
        const bool gap = std::isnan(row[k]);
        mean[k] += gap ? 0.0 : row[k];
        present_[k] += gap ? 0.0 : 1.0;
      }
      if (!finite) continue;
      whole_.push_back(row);
      for (int64_t k = 0; k < size_; ++k) centre_[k] += row[k];
    }
    if (whole_.size() < 2) return false;
    const double many = static_cast<double>(whole_.size());
    for (int64_t k = 0; k < size_; ++k) {
      mean[k] /= present_[k];
      centre_[k] /= many;
    }
    std::fill(covariance.begin(), covariance.end(), 0.0);
    for (const double* row : whole_) {
      for (int64_t k = 0; k < size_; ++k) row_[k] = row[k] - centre_[k];
      for (int64_t i = 0; i < size_; ++i) {
        add_multiple(row_[i], row_.data(), i, stride_, covariance.data() + i * stride_);
      }
    }
    for (double& value : covariance) value /= many - 1;
    return true;
  }

 private:
  int64_t size_, stride_;

 public:
  std::vector<double> mean;        // (size)
  std::vector<double> covariance;  // (size, stride), of which the upper half

 private:
  std::vector<const double*> whole_;
  std::vector<double> centre_, present_, row_;
};

// sqrt(d' A^-1 d) by the Cholesky factor of A (size, stride), of which the upper half is read;
// overwrites both. NaN if A is not positive definite.
double whitened_length(double* a, double* d, int64_t size) {
  const int64_t stride = padded(size);
  double total = 0;
  for (int64_t j = 0; j < size; ++j) {
    double* row = a + j * stride;
    const double pivot = row[j];
    if (!(pivot > 0)) return kUndefined;
    const double root = std::sqrt(pivot);
    const double solved = d[j] / root;
    total += solved * solved;
    for (int64_t k = j / kGroup * kGroup; k < stride; ++k) row[k] /= root;
    add_multiple(-solved, row, j + 1, stride, d);
    for (int64_t i = j + 1; i < size; ++i) add_multiple(-row[i], row, i, stride, a + i * stride);
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
      for (int64_t i = 0; i < size; ++i) {
        double* own = image.covariance.data() + i * padded(size);
        for (int64_t k = 0; k < size; ++k) {
          own[k] = (model_covariance[i * size + k] + own[k]) / 2;
        }
      }
      out[index] = whitened_length(image.covariance.data(), image.mean.data(), size);
    }
  });
  return distances;
}

}  // namespace
}  // namespace ranksrgan::mvg_distance

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) {
  m.impl("mvg_distance", ranksrgan::mvg_distance::mvg_distance_cpu);
}
