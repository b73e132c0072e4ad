#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../ma_normalise.h"
#include "ma_lanes.h"

namespace ranksrgan::ma::ma_normalise {
namespace {

constexpr int kSurroundings = 9;
constexpr int kCentre = kSurroundings / 2;
constexpr int kMembers = kSurroundings + kOrientations - 1 + 1;  // the last is the parent
// Members whose products with as many others fit into the registers.
constexpr int kTile = kPack == 8 ? 5 : 3;
// A direction with a smaller part of the largest variance is rounding; photographs have 1e-7.
constexpr double kSmallest = 1e-12;
constexpr int64_t kGrain = 96;  // rows of bands below which another thread does not pay

// Pointers to the members of the neighbourhoods of a row, x = 0 being its first inner pixel.
struct Members {
  const double* rows[kMembers];

  // Up to eight pixels from `first` on; what is missing is 0. (kMembers, kLanes)
  void last(int64_t first, int64_t count, double* to) const {
    for (int i = 0; i < kMembers; ++i) {
      std::copy_n(rows[i] + first, count, to + i * kLanes);
      std::fill_n(to + i * kLanes + count, kLanes - count, 0.0);
    }
  }
};

struct Scale {
  const double *bands, *parents;  // (6, height, width) and (parent_count, height, width)
  int64_t parent_count, height, width;
  std::vector<double> zeros;  // (width,), the parent of those that have none

  bool has_parent(int64_t band) const { return band < parent_count; }

  // y = 0 is the first inner row.
  Members members(int64_t band, int64_t y) const {
    const int64_t plane = height * width;
    Members found;
    const double** next = found.rows;
    for (int64_t dy = 0; dy < 3; ++dy) {
      for (int64_t dx = 0; dx < 3; ++dx) *next++ = bands + band * plane + (y + dy) * width + dx;
    }
    const int64_t inner = (y + 1) * width + 1;
    for (int64_t other = 0; other < kOrientations; ++other) {
      if (other != band) *next++ = bands + other * plane + inner;
    }
    *next = has_parent(band) ? parents + band * plane + inner : zeros.data();
    return found;
  }
};

// The products of two tiles of members over `count` pixels, a multiple of kLanes, added to
// sums: (kTile, kTile, kLanes).
void multiply(const double* const* first, const double* const* second, int64_t count,
              double* sums) {
  for (int group = 0; group < kLanes; group += kPack) {
    Pack products[kTile][kTile];
    for (int k = 0; k < kTile * kTile; ++k) {
      products[k / kTile][k % kTile] = load(sums + k * kLanes + group);
    }
    for (int64_t x = group; x < count; x += kLanes) {
      Pack left[kTile];
      for (int i = 0; i < kTile; ++i) left[i] = load(first[i] + x);
      for (int j = 0; j < kTile; ++j) {
        const Pack right = load(second[j] + x);
        for (int i = 0; i < kTile; ++i) products[i][j] += left[i] * right;
      }
    }
    for (int k = 0; k < kTile * kTile; ++k) {
      store(products[k / kTile][k % kTile], sums + k * kLanes + group);
    }
  }
}

// sums: (kMembers, kMembers) of the products of members along one row of `width` pixels; the upper
// triangle of tiles is written.
void row_products(const Members& members, int64_t width, double* sums) {
  const int64_t whole = width / kLanes * kLanes;
  double rest[kMembers * kLanes];
  const double* rest_rows[kMembers];
  members.last(whole, width - whole, rest);
  for (int i = 0; i < kMembers; ++i) rest_rows[i] = rest + i * kLanes;
  for (int top = 0; top < kMembers; top += kTile) {
    for (int left = top; left < kMembers; left += kTile) {
      double products[kTile * kTile * kLanes] = {};
      multiply(members.rows + top, members.rows + left, whole, products);
      multiply(rest_rows + top, rest_rows + left, kLanes, products);
      for (int i = 0; i < kTile; ++i) {
        for (int j = 0; j < kTile; ++j) {
          sums[(top + i) * kMembers + left + j] = sum(products + (i * kTile + j) * kLanes);
        }
      }
    }
  }
}

// The upper triangular R of each band whose RᵀR is the pseudo-inverse of its covariance.
// (6, kMembers, kMembers)
at::Tensor whitening(const at::Tensor& covariance) {
  const auto [values, vectors] = at::linalg_eigh(covariance);
  const at::Tensor smallest = values.narrow(-1, kMembers - 1, 1) * kSmallest;
  const at::Tensor inverse =
      at::where(values > smallest, values, std::numeric_limits<double>::infinity()).rsqrt();
  return std::get<1>(at::linalg_qr((vectors * inverse.unsqueeze(-2)).mT(), "r")).contiguous();
}

// Squared length of the whitened neighbourhoods of some pixels.
inline Pack energy(const Pack (&members)[kMembers], const double* factor) {
  Pack total = {};
#pragma GCC unroll 15
  for (int i = 0; i < kMembers; ++i) {
    Pack projection = factor[i * kMembers + i] * members[i];
#pragma GCC unroll 15
    for (int j = i + 1; j < kMembers; ++j) projection += factor[i * kMembers + j] * members[j];
    total += projection * projection;
  }
  return total;
}

inline Pack quotient(const double* const* rows, int64_t x, double mean, const double* factor) {
  Pack members[kMembers];
  for (int i = 0; i < kMembers; ++i) members[i] = load(rows[i] + x);
  const Pack divisor = root(energy(members, factor));
  const Pack centred = members[kCentre] - mean;
  return divisor > 0.0 ? centred / divisor : Pack{};  // without energy there is no contrast
}

// One row of results from the pixel `margin` on.
void divide_row(const Members& members, int64_t margin, int64_t width, double mean,
                const double* factor, double* out) {
  const int64_t whole = width / kPack * kPack;
  for (int64_t x = 0; x < whole; x += kPack) {
    store(quotient(members.rows, margin + x, mean, factor), out + x);
  }
  double rest[kMembers * kLanes];
  const double* rest_rows[kMembers];
  members.last(margin + whole, width - whole, rest);
  for (int i = 0; i < kMembers; ++i) rest_rows[i] = rest + i * kLanes;
  const Pack last = quotient(rest_rows, 0, mean, factor);
  for (int64_t k = 0; k < width - whole; ++k) out[whole + k] = last[k];
}

// Calls work(band, row) for every row of every band, row by row since bands read each other. A row
// depends on no other, so the values do not depend on how rows are shared out.
template <typename Work>
void for_each_row(int64_t rows, const Work& work) {
  at::parallel_for(0, kOrientations * rows, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) work(k % kOrientations, k / kOrientations);
  });
}

at::Tensor ma_normalise_cpu(const at::Tensor& bands, const at::Tensor& parents, int64_t margin) {
  check_ma_normalise(bands, parents, margin);
  const at::Tensor all_bands = bands.contiguous(), all_parents = parents.contiguous();
  const Scale scale{all_bands.const_data_ptr<double>(), all_parents.const_data_ptr<double>(),
                    parents.size(0), bands.size(1), bands.size(2),
                    std::vector<double>(bands.size(2), 0.0)};
  const int64_t height = scale.height - 2, width = scale.width - 2;

  // Sums row by row, then over the rows of a band in order.
  constexpr int64_t square = kMembers * kMembers;
  std::vector<double> products(kOrientations * height * square), centres(kOrientations * height);
  for_each_row(height, [&](int64_t band, int64_t y) {
    const Members members = scale.members(band, y);
    row_products(members, width, &products[(band * height + y) * square]);
    centres[band * height + y] = row_sum(members.rows[kCentre], width);
  });
  at::Tensor covariance = at::zeros({kOrientations, kMembers, kMembers}, bands.options());
  double means[kOrientations] = {};
  const double pixels = static_cast<double>(height * width);
  for (int64_t band = 0; band < kOrientations; ++band) {
    double* sums = covariance.data_ptr<double>() + band * square;
    for (int64_t y = 0; y < height; ++y) {
      const double* row = &products[(band * height + y) * square];
      for (int64_t k = 0; k < square; ++k) sums[k] += row[k];
      means[band] += centres[band * height + y];
    }
    for (int i = 0; i < kMembers; ++i) {
      for (int j = i; j < kMembers; ++j) {
        sums[j * kMembers + i] = sums[i * kMembers + j] = sums[i * kMembers + j] / pixels;
      }
    }
    means[band] /= pixels;
  }

  at::Tensor factors = whitening(covariance);
  for (int64_t band = 0; band < kOrientations; ++band) {
    // The other orientations are not counted.
    factors[band] /= std::sqrt(kSurroundings + (scale.has_parent(band) ? 1.0 : 0.0));
  }
  const double* factor = factors.const_data_ptr<double>();
  at::Tensor normalised = empty_normalised(bands, margin);
  double* out = normalised.data_ptr<double>();
  const int64_t high = normalised.size(1), wide = normalised.size(2);
  std::vector<double> totals(kOrientations * high);
  for_each_row(high, [&](int64_t band, int64_t y) {
    double* row = out + (band * high + y) * wide;
    divide_row(scale.members(band, margin + y), margin, wide, means[band], factor + band * square,
               row);
    totals[band * high + y] = row_sum(row, wide);
  });
  for (int64_t band = 0; band < kOrientations; ++band) {
    double total = 0.0;
    for (int64_t y = 0; y < high; ++y) total += totals[band * high + y];
    means[band] = total / static_cast<double>(high * wide);
  }
  for_each_row(high, [&](int64_t band, int64_t y) {
    double* row = out + (band * high + y) * wide;
    for (int64_t x = 0; x < wide; ++x) row[x] -= means[band];
  });
  return normalised;
}

}  // namespace
}  // namespace ranksrgan::ma::ma_normalise

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) {
  m.impl("ma_normalise", ranksrgan::ma::ma_normalise::ma_normalise_cpu);
}
