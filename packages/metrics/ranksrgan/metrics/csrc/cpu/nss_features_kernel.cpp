#include <ATen/Parallel.h>
#include <torch/library.h>

#include <cstdint>
#include <memory>

#include "../luma.h"
#include "../nss_features.h"
#include "block_features.h"

namespace ranksrgan {
namespace {

// Rows of levels below which another thread costs more than it saves.
constexpr int64_t kRowGrain = 64;

// images: (N, 3|1, H, W); planes: (N, height, width) levels of the luma that the blocks cover.
template <typename Sample>
void luma_planes(const Sample* images, const BlockGrid& grid, bool gray, uint8_t* planes) {
  const int64_t height = grid.height(), width = grid.width();
  const int64_t area = grid.image_height * grid.image_width;
  at::parallel_for(0, grid.batch * height, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const Sample* first = images + row / height * grid.channels * area +
                            (grid.border + row % height) * grid.image_width + grid.border;
      const Sample *second = first + area, *third = second + area;
      uint8_t* __restrict levels = planes + row * width;
      if (grid.channels == 1) {
        for (int64_t x = 0; x < width; ++x) levels[x] = static_cast<uint8_t>(level(first[x]));
      } else if (gray) {
        for (int64_t x = 0; x < width; ++x) {
          levels[x] = luma_gray(level(first[x]), level(second[x]), level(third[x]));
        }
      } else {
        for (int64_t x = 0; x < width; ++x) {
          levels[x] = luma_y(level(first[x]), level(second[x]), level(third[x]));
        }
      }
    }
  });
}

template <typename Real>
void features_of_planes(const uint8_t* planes, const BlockGrid& grid, const AggdTable& table,
                        double* features) {
  const int64_t height = grid.height(), width = grid.width(), blocks = grid.blocks();
  // A block is one thread's from first to last, so the values do not depend on how many there are.
  at::parallel_for(0, grid.batch * blocks, 1, [&](int64_t begin, int64_t end) {
    const auto block_features = std::make_unique<BlockFeatures<Real>>(table, height, width);
    for (int64_t index = begin; index < end; ++index) {
      const int64_t block = index % blocks;
      block_features->compute(planes + index / blocks * height * width, block / grid.columns,
                     block % grid.columns, features + index * 2 * kFeatures);
    }
  });
}

at::Tensor nss_features_cpu(const at::Tensor& images, const at::Tensor& table, int64_t border,
                            bool gray, bool single) {
  const BlockGrid grid = check_nss(images, table, border);
  const at::Tensor input = images.contiguous(), columns = table.contiguous();
  at::Tensor planes =
      at::empty({grid.batch, grid.height(), grid.width()}, input.options().dtype(at::kByte));
  uint8_t* levels = planes.data_ptr<uint8_t>();
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
}  // namespace ranksrgan

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) { m.impl("nss_features", ranksrgan::nss_features_cpu); }
