// Work that takes milliseconds and more, done where it holds nobody up.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <type_traits>
#include <utility>

namespace diffused::api {

// Runs `work` on a thread of the pool and gives its result to the calling coroutine, on the coroutine's own
// executor. Work that has begun is finished even when the exchange is cancelled meanwhile; what it refers to
// must live that long, which the locals of the calling coroutine do.
template <typename Work>
boost::asio::awaitable<std::invoke_result_t<Work>> offload(boost::asio::thread_pool& pool, Work work) {
  auto task = [](Work work) -> boost::asio::awaitable<std::invoke_result_t<Work>> { co_return work(); };
  co_return co_await boost::asio::co_spawn(pool, task(std::move(work)), boost::asio::use_awaitable);
}

}  // namespace diffused::api
