// What the two kernels of winograd share: how an image is cut into tiles, and where results go.
#pragma once

#include <cstdint>
#include <vector>

#include "../winograd.h"

namespace ranksrgan {
namespace {

constexpr int kPositions = 16;  // of a transformed tile of 4 x 4
constexpr int64_t kScratch = 320 * 1024;  // bytes of tiles at a time: half of a small L2 cache
constexpr int64_t kRows = 4;  // of tiles, one thread's: neighbours read half of each other's pixels
constexpr int64_t kPad = 32;  // elements between positions, so that they do not share cache sets

// What becomes of the sums of a block of outputs.
struct Finish {
  const float* bias;      // of the block's first output
  const float* residual;  // the block's first value of the map that is added to, or null
  int64_t residual_row, residual_pixel;
  char* out;  // the block's first value
  int64_t row, pixel;
  float factor, slope;
};

// Where a block's outputs go. Its number says which pixel of a square they become.
inline Finish finish_of(const Convolution& work, int64_t block, int64_t outputs) {
  const Map& out = work.out;
  const int64_t phase = block * outputs / out.channels, channel = block * outputs % out.channels;
  const int64_t start =
      phase / work.shuffle * out.row + phase % work.shuffle * out.pixel + channel;
  Finish finish{work.bias + block * outputs,
                nullptr,
                0,
                0,
                out.data + out.bytes() * start,
                out.row * work.shuffle,
                out.pixel * work.shuffle,
                work.factor,
                work.slope};
  if (work.residual) {
    finish.residual = reinterpret_cast<const float*>(work.residual->data) + channel;
    finish.residual_row = work.residual->row;
    finish.residual_pixel = work.residual->pixel;
  }
  return finish;
}

// This thread's, until it asks again.
inline char* scratch(int64_t bytes) {
  // Kept: of this size the C library would fetch it anew for every call.
  thread_local std::vector<char> kept;
  if (static_cast<int64_t>(kept.size()) < bytes + 64) kept.resize(bytes + 64);
  const auto address = reinterpret_cast<uintptr_t>(kept.data());
  return kept.data() + (64 - address % 64) % 64;
}

}  // namespace
}  // namespace ranksrgan
