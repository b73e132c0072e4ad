#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "../ma_structure.h"
#include "ma_lanes.h"

namespace ranksrgan::ma::ma_structure {
namespace {

// Windows that are worked on together, so that what they share is read once and stays in the cache.
constexpr int kHigh = 8;
constexpr int kWide = 128;
constexpr int kHighSource = kHigh + kStructureWindow - 1;  // rows that they take in
constexpr int kWideSource = kWide + 2 * kLanes;            // columns, and room to read on
constexpr int kArea = kHigh * kWide;

// One output of a pass: the eleven samples, outermost pair first.
template <typename Sample>
inline Pack weigh(const Sample& sample) {
  Pack total = kStructureTaps[0] * (sample(0) + sample(10));
  total += kStructureTaps[1] * (sample(1) + sample(9));
  total += kStructureTaps[2] * (sample(2) + sample(8));
  total += kStructureTaps[3] * (sample(3) + sample(7));
  total += kStructureTaps[4] * (sample(4) + sample(6));
  return total + kStructureTaps[5] * sample(5);
}

// Moments of planes, and of pairs of them, in a tile of windows.
class Tile {
 public:
  Tile(const std::vector<const double*>& planes, int64_t height, int64_t width)
      : planes_(planes),
        height_(height),
        width_(width),
        means_(planes.size() * kArea),
        variances_(planes.size() * kArea) {}

  // Moves to the tile whose first window is at (top, left). Windows beyond the planes hold no
  // values that mean anything.
  void move(int64_t top, int64_t left) {
    top_ = top;
    left_ = left;
    for (size_t k = 0; k < planes_.size(); ++k) {
      double* mean = &means_[k * kArea];
      double* variance = &variances_[k * kArea];
      smooth(mean, [&](int64_t at) { return load(planes_[k] + at); });
      smooth(variance, [&](int64_t at) {
        const Pack value = load(planes_[k] + at);
        return value * value;
      });
      for (int i = 0; i < kArea; ++i) variance[i] -= mean[i] * mean[i];
    }
  }

  // Adds the correlation of two planes along each of the first `rows` rows.
  void correlate(int64_t first, int64_t second, int64_t rows, double* sums) {
    smooth(joint_, [&](int64_t at) {
      return load(planes_[first] + at) * load(planes_[second] + at);
    });
    const double *mean_x = &means_[first * kArea], *mean_y = &means_[second * kArea];
    const double *variance_x = &variances_[first * kArea], *variance_y = &variances_[second * kArea];
    const int64_t columns = std::min<int64_t>(kWide, width_ - kStructureWindow + 1 - left_);
    for (int64_t y = 0; y < rows; ++y) {
      double correlations[kWide];
      for (int64_t x = 0; x < kWide; x += kPack) {
        const int64_t at = y * kWide + x;
        const Pack covariance = load(joint_ + at) - load(mean_x + at) * load(mean_y + at);
        const Pack variances = load(variance_x + at) + load(variance_y + at);
        store((2.0 * covariance + kC2) / (variances + kC2), correlations + x);
      }
      sums[y] += row_sum(correlations, columns);
    }
  }

 private:
  // Gaussian-weighted means in the windows of what `read` gives for some pixels at an offset of the
  // planes. out: (kHigh, kWide)
  template <typename Read>
  void smooth(double* out, const Read& read) {
    const int64_t columns = std::min<int64_t>(kWide + kStructureWindow - 1, width_ - left_);
    for (int64_t x = 0; x < columns; x += kPack) {
      const int64_t from = std::min(x, columns - kPack);  // the last may overlap those before
      Pack column[kHighSource];
      for (int k = 0; k < kHighSource; ++k) {
        column[k] = read(std::min(top_ + k, height_ - 1) * width_ + left_ + from);
      }
#pragma GCC unroll 8
      for (int y = 0; y < kHigh; ++y) {
        store(weigh([&](int k) { return column[y + k]; }), &lines_[y][from]);
      }
    }
    for (int y = 0; y < kHigh; ++y) {
      for (int64_t x = 0; x < kWide; x += kPack) {
        store(weigh([&](int k) { return load(&lines_[y][x + k]); }), out + y * kWide + x);
      }
    }
  }

  const std::vector<const double*>& planes_;
  const int64_t height_, width_;
  int64_t top_ = 0, left_ = 0;
  std::vector<double> means_, variances_;
  double joint_[kArea];
  double lines_[kHigh][kWideSource] = {};
};

at::Tensor ma_structure_cpu(at::TensorList planes, at::IntArrayRef first, at::IntArrayRef second) {
  check_ma_structure(planes, first, second);
  std::vector<at::Tensor> kept;
  std::vector<const double*> pointers;
  for (const at::Tensor& plane : planes) {
    kept.push_back(plane.contiguous());
    pointers.push_back(kept.back().const_data_ptr<double>());
  }
  const int64_t height = planes[0].size(0), width = planes[0].size(1);
  const int64_t high = height - kStructureWindow + 1, wide = width - kStructureWindow + 1;
  const int64_t pairs = static_cast<int64_t>(first.size());
  // A row's sum depends on no other row, so the values do not depend on how rows are shared out.
  std::vector<double> sums(pairs * high);
  at::parallel_for(0, (high + kHigh - 1) / kHigh, 1, [&](int64_t begin, int64_t end) {
    Tile tile(pointers, height, width);
    for (int64_t top = begin * kHigh; top < std::min(end * kHigh, high); top += kHigh) {
      for (int64_t left = 0; left < wide; left += kWide) {
        tile.move(top, left);
        for (int64_t p = 0; p < pairs; ++p) {
          tile.correlate(first[p], second[p], std::min<int64_t>(kHigh, high - top),
                         &sums[p * high + top]);
        }
      }
    }
  });
  at::Tensor means = at::empty({pairs}, planes[0].options());
  for (int64_t p = 0; p < pairs; ++p) {
    double total = 0.0;
    for (int64_t y = 0; y < high; ++y) total += sums[p * high + y];
    means.data_ptr<double>()[p] = total / static_cast<double>(high * wide);
  }
  return means;
}

}  // namespace
}  // namespace ranksrgan::ma::ma_structure

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) {
  m.impl("ma_structure", ranksrgan::ma::ma_structure::ma_structure_cpu);
}
