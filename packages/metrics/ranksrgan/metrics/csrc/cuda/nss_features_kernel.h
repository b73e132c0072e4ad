#pragma once

#include <cuda_runtime_api.h>

#include "../aggd.h"
#include "../blocks.h"

namespace ranksrgan {

// images: (batch, channels, image_height, image_width); features: (batch, blocks, 36). On the
// device, the table too, none of them empty. single: normalise and sum in float32.
template <typename Sample>
void launch_nss_features(const Sample* images, const BlockGrid& grid, const AggdTable& table,
                         bool gray, bool single, double* features, cudaStream_t stream);

extern template void launch_nss_features(const uint8_t*, const BlockGrid&, const AggdTable&, bool,
                                         bool, double*, cudaStream_t);
extern template void launch_nss_features(const float*, const BlockGrid&, const AggdTable&, bool,
                                         bool, double*, cudaStream_t);
extern template void launch_nss_features(const double*, const BlockGrid&, const AggdTable&, bool,
                                         bool, double*, cudaStream_t);

}  // namespace ranksrgan
