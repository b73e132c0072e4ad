#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace ranksrgan {

// What one pass resizes: (outer, length, inner) becomes (outer, size, inner).
struct ResizeShape {
  int64_t outer, length, inner, size, taps;
};

// indices, weights: (taps, size). uint8 is computed in float64, rounded and saturated. On the
// device, none of them empty.
template <typename Sample>
void launch_resize_axis(const Sample* in, const ResizeShape& shape, const int64_t* indices,
                        const double* weights, Sample* out, cudaStream_t stream);

extern template void launch_resize_axis(const uint8_t*, const ResizeShape&, const int64_t*,
                                        const double*, uint8_t*, cudaStream_t);
extern template void launch_resize_axis(const float*, const ResizeShape&, const int64_t*,
                                        const double*, float*, cudaStream_t);
extern template void launch_resize_axis(const double*, const ResizeShape&, const int64_t*,
                                        const double*, double*, cudaStream_t);

}  // namespace ranksrgan
