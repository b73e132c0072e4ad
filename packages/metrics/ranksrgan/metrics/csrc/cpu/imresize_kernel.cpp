#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "../imresize.h"

namespace ranksrgan::imresize {
namespace {

// Taps times pixels below which another thread costs more than it saves.
constexpr int64_t kWork = 131072;

// uint8 is computed in float64, the other two in themselves.
template <typename Sample>
using Accurate = std::conditional_t<std::is_same_v<Sample, float>, float, double>;

// MATLAB's rounding to uint8 after each pass, half upwards and saturated; floats are left alone.
template <typename Sample>
inline Sample stored(Accurate<Sample> value) {
  if constexpr (std::is_same_v<Sample, uint8_t>) {
    return static_cast<uint8_t>(std::clamp(std::floor(value + 0.5), 0.0, 255.0));
  } else {
    return value;
  }
}

// One axis, (taps, size); the weights in the type of the sums.
template <typename Real>
struct Taps {
  Taps(const at::Tensor& indices_, const at::Tensor& weights_)
      : taps(indices_.size(0)), size(indices_.size(1)), indices(taps * size), weights(taps * size) {
    const at::Tensor from = indices_.contiguous(), with = weights_.contiguous();
    std::copy_n(from.const_data_ptr<int64_t>(), taps * size, indices.begin());
    const double* exact = with.const_data_ptr<double>();
    for (int64_t k = 0; k < taps * size; ++k) weights[k] = static_cast<Real>(exact[k]);
  }
  int64_t taps, size;
  std::vector<int32_t> indices;
  std::vector<Real> weights;
};

int64_t grain(int64_t taps, int64_t width) { return std::max<int64_t>(1, kWork / (taps * width)); }

// in: (batch, height, width) -> out: (batch, rows.size, width)
template <typename Sample>
void resize_rows(const Sample* in, int64_t batch, int64_t height, int64_t width,
                 const Taps<Accurate<Sample>>& rows, Sample* out) {
  using Real = Accurate<Sample>;
  at::parallel_for(0, batch * rows.size, grain(rows.taps, width), [&](int64_t begin, int64_t end) {
    std::vector<Real> buffer(width);
    Real* __restrict sums = buffer.data();
    for (int64_t row = begin; row < end; ++row) {
      const int64_t y = row % rows.size;
      const Sample* plane = in + row / rows.size * height * width;
      for (int64_t t = 0; t < rows.taps; ++t) {
        const Real weight = rows.weights[t * rows.size + y];
        const Sample* source = plane + rows.indices[t * rows.size + y] * width;
        if (t == 0) {
          for (int64_t x = 0; x < width; ++x) sums[x] = weight * static_cast<Real>(source[x]);
        } else {
          for (int64_t x = 0; x < width; ++x) sums[x] += weight * static_cast<Real>(source[x]);
        }
      }
      Sample* __restrict target = out + row * width;
      for (int64_t x = 0; x < width; ++x) target[x] = stored<Sample>(sums[x]);
    }
  });
}

// in: (lines, width) -> out: (lines, columns.size)
template <typename Sample>
void resize_columns(const Sample* in, int64_t lines, int64_t width,
                    const Taps<Accurate<Sample>>& columns, Sample* out) {
  using Real = Accurate<Sample>;
  const int64_t size = columns.size;
  at::parallel_for(0, lines, grain(columns.taps, size), [&](int64_t begin, int64_t end) {
    std::vector<Real> exact(width), buffer(size);
    Real* __restrict sums = buffer.data();
    for (int64_t line = begin; line < end; ++line) {
      std::copy_n(in + line * width, width, exact.begin());
      const Real* source = exact.data();
      for (int64_t t = 0; t < columns.taps; ++t) {
        const Real* weights = columns.weights.data() + t * size;
        const int32_t* indices = columns.indices.data() + t * size;
        if (t == 0) {
          for (int64_t x = 0; x < size; ++x) sums[x] = weights[x] * source[indices[x]];
        } else {
          for (int64_t x = 0; x < size; ++x) sums[x] += weights[x] * source[indices[x]];
        }
      }
      Sample* __restrict target = out + line * size;
      for (int64_t x = 0; x < size; ++x) target[x] = stored<Sample>(sums[x]);
    }
  });
}

template <typename Sample>
void resize(const at::Tensor& images, const at::Tensor& row_indices, const at::Tensor& row_weights,
            const at::Tensor& column_indices, const at::Tensor& column_weights, bool columns_first,
            at::Tensor& resized) {
  using Real = Accurate<Sample>;
  const int64_t batch = images.size(0), height = images.size(1), width = images.size(2);
  const Taps<Real> rows(row_indices, row_weights), columns(column_indices, column_weights);
  const Sample* in = images.const_data_ptr<Sample>();
  Sample* out = resized.data_ptr<Sample>();
  const int64_t between = columns_first ? height * columns.size : rows.size * width;
  std::vector<Sample> passed(batch * between);
  if (columns_first) {
    resize_columns(in, batch * height, width, columns, passed.data());
    resize_rows(passed.data(), batch, height, columns.size, rows, out);
  } else {
    resize_rows(in, batch, height, width, rows, passed.data());
    resize_columns(passed.data(), batch * rows.size, width, columns, out);
  }
}

at::Tensor imresize_cpu(const at::Tensor& images, const at::Tensor& row_indices,
                        const at::Tensor& row_weights, const at::Tensor& column_indices,
                        const at::Tensor& column_weights, bool columns_first) {
  check_imresize(images, row_indices, row_weights, column_indices, column_weights);
  const at::Tensor input = images.contiguous();
  at::Tensor resized =
      at::empty({input.size(0), row_indices.size(1), column_indices.size(1)}, input.options());
  switch (input.scalar_type()) {
    case at::kByte:
      resize<uint8_t>(input, row_indices, row_weights, column_indices, column_weights,
                      columns_first, resized);
      break;
    case at::kFloat:
      resize<float>(input, row_indices, row_weights, column_indices, column_weights, columns_first,
                    resized);
      break;
    default:
      resize<double>(input, row_indices, row_weights, column_indices, column_weights,
                     columns_first, resized);
  }
  return resized;
}

}  // namespace
}  // namespace ranksrgan::imresize

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) { m.impl("imresize", ranksrgan::imresize::imresize_cpu); }
