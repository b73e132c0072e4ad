#ifdef __x86_64__  // elsewhere there is no kernel

#include <torch/library.h>

#include <algorithm>
#include <cstring>

#include "avx512.h"
#include "in_turns.h"
#include "winograd_tiles.h"

namespace ranksrgan::avx512::winograd {
namespace {

RANKSRGAN_BF16_INLINE void store_half(char* to, __m512 values) {
  const __m256bh rounded = _mm512_cvtneps_pbh(values);
  std::memcpy(to, &rounded, sizeof rounded);
}

// B' d of one column d of four pixels, for two registers of channels.
struct Column {
  __m512 v[4][2];
};

template <bool half>
RANKSRGAN_BF16_INLINE Column column(const char* const rows[4], const int64_t steps[4], int64_t x,
                                    int64_t width) {
  Column found;
  if (x < 0 || x >= width) {
    for (auto& both : found.v) both[0] = both[1] = _mm512_setzero_ps();
    return found;
  }
  constexpr int64_t next = kLanes * (half ? 2 : 4);
  for (int k = 0; k < 2; ++k) {
    const __m512 d0 = load<half>(rows[0] + x * steps[0] + k * next),
                 d1 = load<half>(rows[1] + x * steps[1] + k * next),
                 d2 = load<half>(rows[2] + x * steps[2] + k * next),
                 d3 = load<half>(rows[3] + x * steps[3] + k * next);
    found.v[0][k] = _mm512_sub_ps(d0, d2);
    found.v[1][k] = _mm512_add_ps(d1, d2);
    found.v[2][k] = _mm512_sub_ps(d2, d1);
    found.v[3][k] = _mm512_sub_ps(d1, d3);
  }
  return found;
}

RANKSRGAN_BF16_INLINE void store_both(char* to, __m512 first, __m512 second) {
  const __m512bh rounded = _mm512_cvtne2ps_pbh(second, first);
  std::memcpy(to, &rounded, sizeof rounded);
}

// B' d B of `count` tiles of a row from tile `first` on, to v (16, tiles, channels) in bfloat16.
template <bool half>
RANKSRGAN_BF16 void transform_input(const Map& x, int64_t tile_row, int64_t first, int64_t count,
                                    char* v, int64_t position) {
  alignas(64) static const char zeros[128] = {};
  const int64_t bytes = x.bytes();
  for (int64_t c = 0; c < x.channels; c += 2 * kLanes) {
    const char* rows[4];
    int64_t steps[4];
    for (int64_t k = 0; k < 4; ++k) {
      const int64_t y = 2 * tile_row - 1 + k;
      const bool inside = y >= 0 && y < x.height;
      rows[k] = inside ? x.data + (y * x.row + c) * bytes : zeros;
      steps[k] = inside ? x.pixel * bytes : 0;
    }
    // Columns left of the tile's middle serve the tile before as well.
    Column a = column<half>(rows, steps, 2 * first - 1, x.width);
    Column b = column<half>(rows, steps, 2 * first, x.width);
    for (int64_t t = 0; t < count; ++t) {
      char* to = v + 2 * (t * x.channels + c);
      const Column e = column<half>(rows, steps, 2 * (first + t) + 1, x.width);
      for (int i = 0; i < 4; ++i) {
        char* row = to + 2 * 4 * i * position;
        store_both(row, _mm512_sub_ps(a.v[i][0], e.v[i][0]), _mm512_sub_ps(a.v[i][1], e.v[i][1]));
        store_both(row + 2 * position, _mm512_add_ps(b.v[i][0], e.v[i][0]),
                   _mm512_add_ps(b.v[i][1], e.v[i][1]));
        store_both(row + 4 * position, _mm512_sub_ps(e.v[i][0], b.v[i][0]),
                   _mm512_sub_ps(e.v[i][1], b.v[i][1]));
      }
      a = e;
      const Column f = column<half>(rows, steps, 2 * (first + t) + 2, x.width);
      for (int i = 0; i < 4; ++i) {
        store_both(to + 2 * (4 * i + 3) * position, _mm512_sub_ps(b.v[i][0], f.v[i][0]),
                   _mm512_sub_ps(b.v[i][1], f.v[i][1]));
      }
      b = f;
    }
  }
}

// m (tiles, 16 registers) = v (tiles, channels) u (channels / 2, 16 registers, 2)
template <int registers, int tiles>
RANKSRGAN_BF16 void multiply(const char* v, const char* u, int64_t channels, float* m) {
  __m512 sums[tiles][registers];
  for (int t = 0; t < tiles; ++t) {
    for (int r = 0; r < registers; ++r) sums[t][r] = _mm512_setzero_ps();
  }
  for (int64_t pair = 0; pair < channels / 2; ++pair) {
    __m512bh weights[registers];
    for (int r = 0; r < registers; ++r) {
      std::memcpy(&weights[r], u + 64 * (pair * registers + r), 64);
    }
    for (int t = 0; t < tiles; ++t) {
      int32_t two;
      std::memcpy(&two, v + 2 * t * channels + 4 * pair, 4);
      const __m512i both = _mm512_set1_epi32(two);
      __m512bh inputs;
      std::memcpy(&inputs, &both, 64);
      for (int r = 0; r < registers; ++r) {
        sums[t][r] = _mm512_dpbf16_ps(sums[t][r], inputs, weights[r]);
      }
    }
  }
  for (int t = 0; t < tiles; ++t) {
    for (int r = 0; r < registers; ++r) {
      _mm512_storeu_ps(m + (t * registers + r) * kLanes, sums[t][r]);
    }
  }
}

// How many tiles' sums fit into the registers.
template <int registers>
constexpr int kTiles = registers == 4 ? 6 : 12;

template <int registers, int tiles = kTiles<registers>>
RANKSRGAN_BF16 void multiply_rest(const char* v, const char* u, int64_t channels, int64_t count,
                                  float* m) {
  if (count == tiles) {
    multiply<registers, tiles>(v, u, channels, m);
  } else if constexpr (tiles > 1) {
    multiply_rest<registers, tiles - 1>(v, u, channels, count, m);
  }
}

template <bool half, bool added>
RANKSRGAN_BF16_INLINE void finish_pixel(__m512 sum, __m512 bias, __m512 slope, __m512 factor,
                                        const float* residual, char* out) {
  sum = _mm512_add_ps(sum, bias);
  sum = _mm512_max_ps(_mm512_mul_ps(sum, slope), sum);  // in this order a NaN stays one
  if constexpr (added) sum = _mm512_fmadd_ps(sum, factor, _mm512_loadu_ps(residual));
  if constexpr (half) {
    store_half(out, sum);
  } else {
    _mm512_storeu_ps(reinterpret_cast<float*>(out), sum);
  }
}

// A' m A, and what follows the convolution, for the tile at (y, x), of which the image has `high`
// rows and `wide` columns. m: (16, tiles, 16 registers), from this tile on.
template <int registers, bool half, bool added>
RANKSRGAN_BF16_INLINE void transform_output(const float* m, int64_t position, const Finish& finish,
                                            int64_t y, int64_t x, bool high, bool wide) {
  constexpr int64_t bytes = half ? 2 : 4;
  char* to = finish.out + bytes * (y * finish.row + x * finish.pixel);
  const float* from = finish.residual;
  if constexpr (added) from += y * finish.residual_row + x * finish.residual_pixel;
  const int64_t down = bytes * finish.row, right = bytes * finish.pixel;
  const int64_t from_down = finish.residual_row, from_right = finish.residual_pixel;
  const __m512 slope = _mm512_set1_ps(finish.slope), factor = _mm512_set1_ps(finish.factor);
  for (int r = 0; r < registers; ++r) {
    __m512 upper[4], lower[4];
    for (int j = 0; j < 4; ++j) {
      const float* column = m + r * kLanes + j * position;
      const __m512 m0 = _mm512_loadu_ps(column), m1 = _mm512_loadu_ps(column + 4 * position),
                   m2 = _mm512_loadu_ps(column + 8 * position),
                   m3 = _mm512_loadu_ps(column + 12 * position);
      upper[j] = _mm512_add_ps(_mm512_add_ps(m0, m1), m2);
      lower[j] = _mm512_sub_ps(_mm512_sub_ps(m1, m2), m3);
    }
    const __m512 bias = _mm512_loadu_ps(finish.bias + r * kLanes);
    const auto put = [&](__m512 sum, const float* residual, char* out) RANKSRGAN_BF16 {
      finish_pixel<half, added>(sum, bias, slope, factor, residual + r * kLanes,
                                out + bytes * r * kLanes);
    };
    put(_mm512_add_ps(_mm512_add_ps(upper[0], upper[1]), upper[2]), from, to);
    if (wide) {
      put(_mm512_sub_ps(_mm512_sub_ps(upper[1], upper[2]), upper[3]), from + from_right,
          to + right);
    }
    if (high) {
      put(_mm512_add_ps(_mm512_add_ps(lower[0], lower[1]), lower[2]), from + from_down, to + down);
    }
    if (high && wide) {
      put(_mm512_sub_ps(_mm512_sub_ps(lower[1], lower[2]), lower[3]),
          from + from_down + from_right, to + down + right);
    }
  }
}

template <int registers, bool half, bool added>
RANKSRGAN_BF16 void transform_outputs(const float* m, int64_t position, const Finish& finish,
                                      const Map& x, int64_t tile_row, int64_t first,
                                      int64_t count) {
  const bool high = 2 * tile_row + 1 < x.height;
  for (int64_t t = 0; t < count; ++t, m += registers * kLanes) {
    const int64_t column = 2 * (first + t);
    transform_output<registers, half, added>(m, position, finish, 2 * tile_row, column, high,
                                             column + 1 < x.width);
  }
}

template <int registers>
RANKSRGAN_BF16 void convolve_row(const Convolution& work, int64_t together,
                                 int64_t tile_row, char* v, float* m) {
  constexpr int64_t outputs = registers * kLanes, step = kTiles<registers>;
  const Map& x = work.x;
  const int64_t tiles = (x.width + 1) / 2;
  const int64_t v_position = together * x.channels + kPad;
  const int64_t m_position = together * outputs + kPad;
  const int64_t pieces = (tiles + together - 1) / together;
  const int64_t most = ((tiles + pieces - 1) / pieces + step - 1) / step * step;
  for (int64_t first = 0; first < tiles; first += most) {
    const int64_t count = std::min(most, tiles - first);
    if (x.half) {
      transform_input<true>(x, tile_row, first, count, v, v_position);
    } else {
      transform_input<false>(x, tile_row, first, count, v, v_position);
    }
    const char* u = work.weight;
    for (int64_t block = 0; block < work.blocks; ++block) {
      for (int64_t p = 0; p < kPositions; ++p, u += 2 * x.channels * outputs) {
        for (int64_t t = 0; t < count; t += step) {
          multiply_rest<registers>(v + 2 * (p * v_position + t * x.channels), u, x.channels,
                                   std::min(step, count - t), m + p * m_position + t * outputs);
        }
      }
      const Finish finish = finish_of(work, block, outputs);
      auto* transform = transform_outputs<registers, true, false>;
      if (work.residual) {
        transform = transform_outputs<registers, false, true>;
      } else if (!work.out.half) {
        transform = transform_outputs<registers, false, false>;
      }
      transform(m, m_position, finish, x, tile_row, first, count);
    }
  }
}

template <int registers>
void winograd_kernel(const Convolution& work) {
  constexpr int64_t outputs = registers * kLanes, step = kTiles<registers>;
  const int64_t channels = work.x.channels;
  const int64_t of_a_tile = kPositions * (2 * channels + 4 * outputs);
  const int64_t together = std::max(kScratch / of_a_tile / step, int64_t{1}) * step;
  const int64_t v_bytes = 2 * kPositions * (together * channels + kPad);
  const int64_t m_bytes = 4 * kPositions * (together * outputs + kPad);
  const int64_t rows = (work.x.height + 1) / 2;
  in_turns((rows + kRows - 1) / kRows, [&] {
    char* v = scratch(v_bytes + m_bytes);
    float* m = reinterpret_cast<float*>(v + v_bytes);
    return [&work, together, rows, v, m](int64_t piece) {
      const int64_t end = std::min(rows, (piece + 1) * kRows);
      for (int64_t row = piece * kRows; row < end; ++row) {
        convolve_row<registers>(work, together, row, v, m);
      }
    };
  });
}

void convolve(const Convolution& work) {
  check_processor("winograd in bfloat16");
  switch (work.outputs) {
    case 64: return winograd_kernel<4>(work);
    default: return winograd_kernel<2>(work);
  }
}

}  // namespace
}  // namespace ranksrgan::avx512::winograd

void ranksrgan::winograd_bfloat16(const Convolution& work) { avx512::winograd::convolve(work); }

#endif
