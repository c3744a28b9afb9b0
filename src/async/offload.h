// Work that takes milliseconds and more, done where it holds nobody up.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "async/workers.h"

namespace diffused {

// What reads no more than so many bytes takes less than it costs to hand it to another thread.
constexpr std::size_t kQuickBytes = 64 << 10;

// Runs `work` on a thread of the lane, in the user's turn, then resumes the calling coroutine on its own
// executor. Throws what the work throws. May be cancelled by whoever cancels the caller: work that has not
// begun is then skipped, and operation_aborted is thrown. Work that has begun is finished first. In each case
// the caller's frame outlives the work, so the work may refer to its locals.
boost::asio::awaitable<void> run_on(Workers& workers, Lane lane, const std::string& user,
                                    std::function<void()> work);

// The same for work with a result.
template <typename Work>
boost::asio::awaitable<std::invoke_result_t<Work>> offload_to(Lane lane, Workers& workers,
                                                              const std::string& user, Work work) {
  if constexpr (std::is_void_v<std::invoke_result_t<Work>>) {
    co_await run_on(workers, lane, user, std::move(work));
  } else {
    std::optional<std::invoke_result_t<Work>> result;
    co_await run_on(workers, lane, user, [&] { result.emplace(work()); });
    co_return *std::move(result);
  }
}

// const Blob blob = co_await offload(workers, user, [&] { return store.get(id); })
template <typename Work>
boost::asio::awaitable<std::invoke_result_t<Work>> offload(Workers& workers, const std::string& user,
                                                           Work work) {
  return offload_to(Lane::quick, workers, user, std::move(work));
}

// For what may take a second.
template <typename Work>
boost::asio::awaitable<std::invoke_result_t<Work>> offload_slow(Workers& workers, const std::string& user,
                                                                Work work) {
  return offload_to(Lane::slow, workers, user, std::move(work));
}

// For work that reads `bytes`, which are often few: those it reads here and now.
template <typename Work>
boost::asio::awaitable<std::invoke_result_t<Work>> offload_large(std::size_t bytes, Workers& workers,
                                                                 const std::string& user, Work work) {
  if (bytes <= kQuickBytes) co_return work();
  co_return co_await offload(workers, user, std::move(work));
}

}  // namespace diffused
