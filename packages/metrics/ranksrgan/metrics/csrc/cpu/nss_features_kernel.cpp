#include <ATen/Parallel.h>
#include <torch/library.h>

#include <cstdint>
#include <memory>

#include "../luma.h"
#include "../nss_features.h"
#include "block_features.h"
#include "in_turns.h"

namespace ranksrgan::nss_features {
namespace {

// Rows of levels below which another thread costs more than it saves.
constexpr int64_t kRowGrain = 64;

// One row of levels, of one channel or three that lie `area` apart. A function of its own: bytes may
// alias whatever a lambda holds by reference, and then the loops would not be vectorised.
template <typename Sample>
void luma_row(const Sample* red, int64_t area, int64_t channels, bool gray, int64_t width,
              uint8_t* __restrict levels) {
  const Sample *green = red + area, *blue = green + area;
  if (channels == 1) {
    for (int64_t x = 0; x < width; ++x) levels[x] = static_cast<uint8_t>(level(red[x]));
  } else if (gray) {
    for (int64_t x = 0; x < width; ++x) {
      levels[x] = luma_gray(level(red[x]), level(green[x]), level(blue[x]));
    }
  } else {
    for (int64_t x = 0; x < width; ++x) {
      levels[x] = luma_y(level(red[x]), level(green[x]), level(blue[x]));
    }
  }
}

// images: (N, 3|1, H, W); planes: (N, height, width) levels of the luma that the blocks cover.
template <typename Sample>
void luma_planes(const Sample* images, const BlockGrid& grid, bool gray, uint8_t* planes) {
  const int64_t height = grid.height(), width = grid.width();
  const int64_t area = grid.image_height * grid.image_width;
  at::parallel_for(0, grid.batch * height, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const Sample* first = images + row / height * grid.channels * area +
                            (grid.border + row % height) * grid.image_width + grid.border;
      luma_row(first, area, grid.channels, gray, width, planes + row * width);
    }
  });
}

// planes: (N, height, width); features: (N, P, 36)
template <typename Real>
void features_of_planes(const uint8_t* planes, const BlockGrid& grid, const AggdTable& table,
                        double* features) {
  const int64_t height = grid.height(), width = grid.width(), blocks = grid.blocks();
  // A block is one thread's from first to last, so the values do not depend on how many there are.
  in_turns(grid.batch * blocks, [&] {
    return [&, features_of = std::make_unique<BlockFeatures<Real>>(table, height, width)](
               int64_t index) {
      const int64_t block = index % blocks;
      features_of->compute(planes + index / blocks * height * width, block / grid.columns,
                           block % grid.columns, features + index * 2 * kFeatures);
    };
  });
}

at::Tensor nss_features_cpu(const at::Tensor& images, const at::Tensor& table, int64_t border,
                            bool gray, bool single) {
  const BlockGrid grid = check_nss(images, table, border);
  const at::Tensor input = images.contiguous(), columns = table.contiguous();
  at::Tensor planes = at::empty({grid.batch * grid.height() * grid.width() + 2 * kSlack},
                                input.options().dtype(at::kByte));
  uint8_t* levels = planes.data_ptr<uint8_t>() + kSlack;
  switch (input.scalar_type()) {
    case at::kByte:
      luma_planes(input.const_data_ptr<uint8_t>(), grid, gray, levels);
      break;
    case at::kFloat:
      luma_planes(input.const_data_ptr<float>(), grid, gray, levels);
      break;
    default:
      luma_planes(input.const_data_ptr<double>(), grid, gray, levels);
  }
  at::Tensor features = empty_features(input, grid);
  const AggdTable fits = aggd_table(columns.const_data_ptr<double>(), columns.size(1));
  if (single) {
    features_of_planes<float>(levels, grid, fits, features.data_ptr<double>());
  } else {
    features_of_planes<double>(levels, grid, fits, features.data_ptr<double>());
  }
  return features;
}

}  // namespace
}  // namespace ranksrgan::nss_features

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) {
  m.impl("nss_features", ranksrgan::nss_features::nss_features_cpu);
}
