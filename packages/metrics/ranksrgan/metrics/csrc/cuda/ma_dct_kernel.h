#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace ranksrgan {

// planes: (batch, height, width) float64 on the device; ratio, variation, orientation: one number
// for each window, (batch, ceil(height / 3), ceil(width / 3)). None of them is empty.
void launch_ma_dct(const double* planes, int64_t batch, int64_t height, int64_t width,
                   double* ratio, double* variation, double* orientation, cudaStream_t stream);

}  // namespace ranksrgan
