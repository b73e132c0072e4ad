#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <type_traits>
#include <vector>

#include "../patch_crops.h"
#include "local_statistics.h"

namespace ranksrgan::patch_crops {
namespace {

// The crop's pixels on the 0..255 scale as one grey plane. crop: (channels, size, size)
template <typename Sample>
void grey_plane(const Sample* crop, int64_t channels, int64_t area, double* __restrict grey) {
  constexpr double scale = std::is_floating_point_v<Sample> ? 255.0 : 1.0;
  if (channels == 1) {
    for (int64_t k = 0; k < area; ++k) grey[k] = static_cast<double>(crop[k]) * scale;
    return;
  }
  const Sample *red = crop, *green = crop + area, *blue = crop + 2 * area;
  for (int64_t k = 0; k < area; ++k) {
    const double r = static_cast<double>(red[k]) * scale;
    const double g = static_cast<double>(green[k]) * scale;
    const double b = static_cast<double>(blue[k]) * scale;
    grey[k] = kRed * r + kGreen * g + kBlue * b;
  }
}

// What one thread needs to measure crops of one size.
struct Scratch {
  explicit Scratch(int64_t size)
      : grey(size * size), row(size), mean(size), deviation(size), columns(size) {}
  std::vector<double> grey;
  RowBuffer row;
  std::vector<double> mean, deviation, columns;
};

template <typename Sample>
double sharpness(const Sample* crop, int64_t channels, int64_t size, Scratch& scratch) {
  grey_plane(crop, channels, size * size, scratch.grey.data());
  std::fill(scratch.columns.begin(), scratch.columns.end(), 0.0);
  for (int64_t y = 0; y < size; ++y) {
    local_statistics(scratch.grey.data(), size, size, y, scratch.row, scratch.mean.data(),
                     scratch.deviation.data());
    double* __restrict columns = scratch.columns.data();
    const double* deviation = scratch.deviation.data();
    for (int64_t x = 0; x < size; ++x) columns[x] += deviation[x];
  }
  double total = 0.0;
  for (const double column : scratch.columns) total += column;
  return total / static_cast<double>(size * size);
}

// images: (N, channels, height, width); crops: (N, P, channels, size, size)
template <typename Sample>
void patch_crops_kernel(const at::Tensor& images, const CropGrid& grid, at::Tensor& crops,
                        at::Tensor& sharpnesses) {
  const int64_t channels = images.size(1), height = images.size(2), width = images.size(3);
  const int64_t size = grid.size, positions = grid.positions();
  const Sample* in = images.const_data_ptr<Sample>();
  Sample* out = crops.data_ptr<Sample>();
  double* out_sharpness = sharpnesses.data_ptr<double>();
  // A crop is one thread's from first to last, so the values do not depend on how many there are.
  at::parallel_for(0, images.size(0) * positions, 1, [&](int64_t begin, int64_t end) {
    Scratch scratch(size);
    for (int64_t index = begin; index < end; ++index) {
      const int64_t image = index / positions, position = index % positions;
      const int64_t top = position / grid.columns * grid.stride;
      const int64_t left = position % grid.columns * grid.stride;
      Sample* crop = out + index * channels * size * size;
      for (int64_t c = 0; c < channels; ++c) {
        const Sample* plane = in + (image * channels + c) * height * width;
        for (int64_t y = 0; y < size; ++y) {
          std::copy_n(plane + (top + y) * width + left, size, crop + (c * size + y) * size);
        }
      }
      out_sharpness[index] = sharpness(crop, channels, size, scratch);
    }
  });
}

std::tuple<at::Tensor, at::Tensor> patch_crops_cpu(const at::Tensor& images, int64_t size,
                                                   int64_t stride) {
  const CropGrid grid = check_crops(images, size, stride);
  const at::Tensor input = images.contiguous();
  at::Tensor crops = empty_crops(input, grid);
  at::Tensor sharpnesses = empty_sharpness(input, grid);
  switch (input.scalar_type()) {
    case at::kByte:
      patch_crops_kernel<uint8_t>(input, grid, crops, sharpnesses);
      break;
    case at::kFloat:
      patch_crops_kernel<float>(input, grid, crops, sharpnesses);
      break;
    default:
      patch_crops_kernel<double>(input, grid, crops, sharpnesses);
  }
  return {crops, sharpnesses};
}

}  // namespace
}  // namespace ranksrgan::patch_crops

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) {
  m.impl("patch_crops", ranksrgan::patch_crops::patch_crops_cpu);
}
