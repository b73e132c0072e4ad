#include <type_traits>

#include "imresize_kernel.h"

namespace ranksrgan {
namespace {

constexpr int kThreads = 256;

// Never contracted to fused multiply-adds, whatever the compiler's flags.
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }
__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double sum(double a, double b) { return __dadd_rn(a, b); }
__device__ inline float sum(float a, float b) { return __fadd_rn(a, b); }

// One thread for each output pixel.
template <typename Sample>
__global__ void __launch_bounds__(kThreads)
    resize_axis_kernel(const Sample* __restrict__ in, ResizeShape shape,
                       const int64_t* __restrict__ indices, const double* __restrict__ weights,
                       Sample* __restrict__ out) {
  using Real = std::conditional_t<std::is_same_v<Sample, float>, float, double>;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= shape.outer * shape.size * shape.inner) return;
  const int64_t x = at % shape.inner, k = at / shape.inner % shape.size;
  const Sample* line = in + at / (shape.inner * shape.size) * shape.length * shape.inner + x;
  const auto term = [&](int64_t t) {
    const Real sample = static_cast<Real>(line[indices[t * shape.size + k] * shape.inner]);
    return product(static_cast<Real>(weights[t * shape.size + k]), sample);
  };
  Real total = term(0);
  for (int64_t t = 1; t < shape.taps; ++t) total = sum(total, term(t));
  if constexpr (std::is_same_v<Sample, uint8_t>) {
    out[at] = static_cast<uint8_t>(fmin(fmax(floor(total + 0.5), 0.0), 255.0));
  } else {
    out[at] = total;
  }
}

}  // namespace

template <typename Sample>
void launch_resize_axis(const Sample* in, const ResizeShape& shape, const int64_t* indices,
                        const double* weights, Sample* out, cudaStream_t stream) {
  const int64_t pixels = shape.outer * shape.size * shape.inner;
  const unsigned blocks = static_cast<unsigned>((pixels + kThreads - 1) / kThreads);
  resize_axis_kernel<<<blocks, kThreads, 0, stream>>>(in, shape, indices, weights, out);
}

template void launch_resize_axis(const uint8_t*, const ResizeShape&, const int64_t*, const double*,
                                 uint8_t*, cudaStream_t);
template void launch_resize_axis(const float*, const ResizeShape&, const int64_t*, const double*,
                                 float*, cudaStream_t);
template void launch_resize_axis(const double*, const ResizeShape&, const int64_t*, const double*,
                                 double*, cudaStream_t);

}  // namespace ranksrgan
