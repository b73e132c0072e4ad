#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace ranksrgan {

struct CropShape {
  int64_t batch, channels, height, width;   // of the images
  int64_t size, stride, positions, columns;  // of the crops; columns of them side by side
};

// How many parts a crop is measured in; each has a sum of its own.
int64_t patch_crops_parts(int64_t size);

// images: (batch, channels, height, width); crops: (batch, positions, channels, size, size);
// sums: (batch, positions, parts), for the launch's own use; sharpness: (batch, positions).
// On the device, none of them empty.
template <typename Sample>
void launch_patch_crops(const Sample* images, const CropShape& shape, Sample* crops, double* sums,
                        double* sharpness, cudaStream_t stream);

extern template void launch_patch_crops(const uint8_t*, const CropShape&, uint8_t*, double*,
                                        double*, cudaStream_t);
extern template void launch_patch_crops(const float*, const CropShape&, float*, double*, double*,
                                        cudaStream_t);
extern template void launch_patch_crops(const double*, const CropShape&, double*, double*, double*,
                                        cudaStream_t);

}  // namespace ranksrgan
