#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace ranksrgan {

// Work on pieces 0 to count - 1 with torch's threads, each of which takes the next piece that nobody
// has. at::parallel_for alone gives every thread its share beforehand, and a core that something
// else is using meanwhile, such as a server's other threads, keeps all of them waiting at the end.
//
// make() is called by each thread that takes part, and gives what works on one piece: a function of
// its number. Which thread that is may differ from call to call, so results must not depend on it.
template <typename Make>
void in_turns(int64_t count, const Make& make) {
  std::atomic<int64_t> next{0};
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), count);
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    auto work = make();
    for (int64_t piece = next++; piece < count; piece = next++) work(piece);
  });
}

}  // namespace ranksrgan
