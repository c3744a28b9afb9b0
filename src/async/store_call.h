// A call of the job store as a coroutine sees it.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "async/post_surely.h"
#include "jobstore/job_store.h"

namespace diffused {

// Makes the call with a Reply and gives what it is told to the calling coroutine, on the coroutine's own
// executor: co_await store_call<Job>([&](auto reply) { store.find(id, owner, std::move(reply)); })
template <typename T, typename Call>
boost::asio::awaitable<Result<T>> ask(Call call) {
  namespace asio = boost::asio;
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Result<T>)>(
      [call = std::move(call)](auto handler) mutable {
        // Replies come from a thread that the io_context does not know: work is held until then.
        auto executor =
            asio::prefer(asio::get_associated_executor(handler), asio::execution::outstanding_work.tracked);
        struct Caller {
          decltype(handler) resume;
          std::optional<Result<T>> result;
          void operator()() { resume(*std::move(result)); }
        };
        const std::shared_ptr<Caller> caller(new Caller{std::move(handler), {}});
        call(jobstore::Reply<T>([caller, executor](Result<T> result) {
          caller->result = std::move(result);
          post_surely(executor, caller);
        }));
      },
      asio::use_awaitable);
}

}  // namespace diffused
