// Work that takes milliseconds and more, done where it holds nobody up.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

namespace diffused::api {

// Runs `work` on a thread of the pool, then resumes the calling coroutine on its own executor. Throws what
// the work throws. May be cancelled by whoever cancels the caller: work that has not begun is then skipped,
// and operation_aborted is thrown. Work that has begun is finished first. In each case the caller's frame
// outlives the work, so the work may refer to its locals.
boost::asio::awaitable<void> run_on(boost::asio::thread_pool& pool, std::function<void()> work);

// The same for work with a result: `const Image image = co_await offload(pool, [&] { return decode(bytes);
// })`.
template <typename Work>
boost::asio::awaitable<std::invoke_result_t<Work>> offload(boost::asio::thread_pool& pool, Work work) {
  if constexpr (std::is_void_v<std::invoke_result_t<Work>>) {
    co_await run_on(pool, std::move(work));
  } else {
    std::optional<std::invoke_result_t<Work>> result;
    co_await run_on(pool, [&] { result.emplace(work()); });
    co_return *std::move(result);
  }
}

}  // namespace diffused::api
