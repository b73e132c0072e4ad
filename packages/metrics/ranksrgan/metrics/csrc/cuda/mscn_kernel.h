#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace ranksrgan {

// planes, normalised, mean, deviation: (batch, height, width) on the device, none of them 0.
template <typename Sample>
void launch_mscn(const Sample* planes, int64_t batch, int64_t height, int64_t width,
                 Sample* normalised, Sample* mean, Sample* deviation, cudaStream_t stream);

extern template void launch_mscn(const float*, int64_t, int64_t, int64_t, float*, float*, float*,
                                 cudaStream_t);
extern template void launch_mscn(const double*, int64_t, int64_t, int64_t, double*, double*,
                                 double*, cudaStream_t);

}  // namespace ranksrgan
