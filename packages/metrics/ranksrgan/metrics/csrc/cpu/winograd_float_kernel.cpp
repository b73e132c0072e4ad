#ifdef __x86_64__  // elsewhere there is no kernel

#include <algorithm>

#include "avx2.h"
#include "in_turns.h"
#include "winograd_tiles.h"

namespace ranksrgan::avx2::winograd {
namespace {

// B' d of one column d of four pixels, for a register of channels.
struct Column {
  __m256 v[4];
};

RANKSRGAN_AVX2_INLINE Column column(const float* const rows[4], const int64_t steps[4], int64_t x,
                                    int64_t width) {
  Column found;
  if (x < 0 || x >= width) {
    for (auto& one : found.v) one = _mm256_setzero_ps();
    return found;
  }
  const __m256 d0 = _mm256_loadu_ps(rows[0] + x * steps[0]),
               d1 = _mm256_loadu_ps(rows[1] + x * steps[1]),
               d2 = _mm256_loadu_ps(rows[2] + x * steps[2]),
               d3 = _mm256_loadu_ps(rows[3] + x * steps[3]);
  found.v[0] = _mm256_sub_ps(d0, d2);
  found.v[1] = _mm256_add_ps(d1, d2);
  found.v[2] = _mm256_sub_ps(d2, d1);
  found.v[3] = _mm256_sub_ps(d1, d3);
  return found;
}

// B' d B of `count` tiles of a row from tile `first` on, to v (16, tiles, channels).
RANKSRGAN_AVX2 void transform_input(const Map& x, int64_t tile_row, int64_t first, int64_t count,
                                    float* v, int64_t position) {
  alignas(32) static const float zeros[kLanes] = {};
  const auto* data = reinterpret_cast<const float*>(x.data);
  for (int64_t c = 0; c < x.channels; c += kLanes) {
    const float* rows[4];
    int64_t steps[4];
    for (int64_t k = 0; k < 4; ++k) {
      const int64_t y = 2 * tile_row - 1 + k;
      const bool inside = y >= 0 && y < x.height;
      rows[k] = inside ? data + y * x.row + c : zeros;
      steps[k] = inside ? x.pixel : 0;
    }
    // Columns left of the tile's middle serve the tile before as well.
    Column a = column(rows, steps, 2 * first - 1, x.width);
    Column b = column(rows, steps, 2 * first, x.width);
    for (int64_t t = 0; t < count; ++t) {
      float* to = v + t * x.channels + c;
      const Column e = column(rows, steps, 2 * (first + t) + 1, x.width);
      for (int i = 0; i < 4; ++i) {
        float* row = to + 4 * i * position;
        _mm256_storeu_ps(row, _mm256_sub_ps(a.v[i], e.v[i]));
        _mm256_storeu_ps(row + position, _mm256_add_ps(b.v[i], e.v[i]));
        _mm256_storeu_ps(row + 2 * position, _mm256_sub_ps(e.v[i], b.v[i]));
      }
      a = e;
      const Column f = column(rows, steps, 2 * (first + t) + 2, x.width);
      for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(to + (4 * i + 3) * position, _mm256_sub_ps(b.v[i], f.v[i]));
      }
      b = f;
    }
  }
}

// A' m A, and what follows the convolution, for the tile at (y, x), of which the image has `high`
// rows and `wide` columns. m: (16, tiles, outputs), from this tile on.
template <bool added>
RANKSRGAN_AVX2_INLINE void transform_output(const float* m, int64_t position, const Finish& finish,
                                            int64_t y, int64_t x, bool high, bool wide) {
  float* to = reinterpret_cast<float*>(finish.out) + y * finish.row + x * finish.pixel;
  const float* from = finish.residual;
  if constexpr (added) from += y * finish.residual_row + x * finish.residual_pixel;
  const __m256 slope = _mm256_set1_ps(finish.slope), factor = _mm256_set1_ps(finish.factor);
  for (int r = 0; r < kRegisters; ++r) {
    __m256 upper[4], lower[4];
    for (int j = 0; j < 4; ++j) {
      const float* column = m + r * kLanes + j * position;
      const __m256 m0 = _mm256_loadu_ps(column), m1 = _mm256_loadu_ps(column + 4 * position),
                   m2 = _mm256_loadu_ps(column + 8 * position),
                   m3 = _mm256_loadu_ps(column + 12 * position);
      upper[j] = _mm256_add_ps(_mm256_add_ps(m0, m1), m2);
      lower[j] = _mm256_sub_ps(_mm256_sub_ps(m1, m2), m3);
    }
    const __m256 bias = _mm256_loadu_ps(finish.bias + r * kLanes);
    const auto put = [&](__m256 sum, int64_t down, int64_t right) RANKSRGAN_AVX2 {
      sum = _mm256_add_ps(sum, bias);
      sum = _mm256_max_ps(_mm256_mul_ps(sum, slope), sum);  // in this order a NaN stays one
      if constexpr (added) {
        const float* beside = from + down * finish.residual_row + right * finish.residual_pixel;
        sum = _mm256_fmadd_ps(sum, factor, _mm256_loadu_ps(beside + r * kLanes));
      }
      _mm256_storeu_ps(to + down * finish.row + right * finish.pixel + r * kLanes, sum);
    };
    put(_mm256_add_ps(_mm256_add_ps(upper[0], upper[1]), upper[2]), 0, 0);
    if (wide) put(_mm256_sub_ps(_mm256_sub_ps(upper[1], upper[2]), upper[3]), 0, 1);
    if (high) put(_mm256_add_ps(_mm256_add_ps(lower[0], lower[1]), lower[2]), 1, 0);
    if (high && wide) put(_mm256_sub_ps(_mm256_sub_ps(lower[1], lower[2]), lower[3]), 1, 1);
  }
}

template <bool added>
RANKSRGAN_AVX2 void transform_outputs(const float* m, int64_t position, const Finish& finish,
                                      const Map& x, int64_t tile_row, int64_t first,
                                      int64_t count) {
  const bool high = 2 * tile_row + 1 < x.height;
  for (int64_t t = 0; t < count; ++t, m += kOutputs) {
    const int64_t column = 2 * (first + t);
    transform_output<added>(m, position, finish, 2 * tile_row, column, high, column + 1 < x.width);
  }
}

RANKSRGAN_AVX2 void convolve_row(const Convolution& work, int64_t together, int64_t tile_row,
                                 float* v, float* m) {
  const Map& x = work.x;
  const int64_t tiles = (x.width + 1) / 2;
  const int64_t v_position = together * x.channels + kPad;
  const int64_t m_position = together * kOutputs + kPad;
  const int64_t pieces = (tiles + together - 1) / together;
  const int64_t most = ((tiles + pieces - 1) / pieces + kTogether - 1) / kTogether * kTogether;
  for (int64_t first = 0; first < tiles; first += most) {
    const int64_t count = std::min(most, tiles - first);
    transform_input(x, tile_row, first, count, v, v_position);
    const auto* u = reinterpret_cast<const float*>(work.weight);
    for (int64_t block = 0; block < work.blocks; ++block) {
      for (int64_t p = 0; p < kPositions; ++p, u += x.channels * kOutputs) {
        multiply(v + p * v_position, x.channels, u, x.channels, count, m + p * m_position);
      }
      const Finish finish = finish_of(work, block, kOutputs);
      auto* transform = work.residual ? transform_outputs<true> : transform_outputs<false>;
      transform(m, m_position, finish, x, tile_row, first, count);
    }
  }
}

void convolve(const Convolution& work) {
  check_processor("winograd in float32");
  const int64_t of_a_tile = 4 * kPositions * (work.x.channels + kOutputs);
  const int64_t together = std::max(kScratch / of_a_tile / kTogether, int64_t{1}) * kTogether;
  const int64_t v_size = kPositions * (together * work.x.channels + kPad);
  const int64_t m_size = kPositions * (together * kOutputs + kPad);
  const int64_t rows = (work.x.height + 1) / 2;
  in_turns((rows + kRows - 1) / kRows, [&] {
    auto* v = reinterpret_cast<float*>(scratch(4 * (v_size + m_size)));
    return [&work, together, rows, v, m = v + v_size](int64_t piece) {
      const int64_t end = std::min(rows, (piece + 1) * kRows);
      for (int64_t row = piece * kRows; row < end; ++row) {
        convolve_row(work, together, row, v, m);
      }
    };
  });
}

}  // namespace
}  // namespace ranksrgan::avx2::winograd

void ranksrgan::winograd_float32(const Convolution& work) { avx2::winograd::convolve(work); }

#endif
