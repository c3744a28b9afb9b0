#include "async/offload.h"

#include <atomic>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <exception>
#include <memory>

#include "async/post_surely.h"

namespace diffused {
namespace {

namespace asio = boost::asio;

std::exception_ptr outcome_of(const std::function<void()>& work, bool abandoned) {
  try {
    if (abandoned) throw boost::system::system_error(asio::error::operation_aborted);
    work();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

}  // namespace

// The work is posted and its end is posted back. A coroutine spawned onto the pool would not do: it would
// take the caller's cancellation slot with it, whose signal comes from the caller's thread while the pool's
// thread may be ending that very coroutine.
asio::awaitable<void> run_on(Workers& workers, Lane lane, const std::string& user,
                             std::function<void()> work) {
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr)>(
      [&workers, lane, &user, &work](auto handler) {
        // The caller's executor must not run out of work meanwhile.
        auto executor =
            asio::prefer(asio::get_associated_executor(handler), asio::execution::outstanding_work.tracked);
        // All that a cancellation touches, and alive for as long as either side may look at it.
        const auto abandoned = std::make_shared<std::atomic<bool>>(false);
        if (auto slot = asio::get_associated_cancellation_slot(handler); slot.is_connected())
          slot.assign([abandoned](asio::cancellation_type) { *abandoned = true; });
        struct Caller {
          decltype(handler) resume;
          std::exception_ptr failure;
          void operator()() { resume(std::move(failure)); }
        };
        const std::shared_ptr<Caller> caller(new Caller{std::move(handler), {}});
        workers.post(lane, user, [&work, abandoned, executor, caller]() mutable {
          caller->failure = outcome_of(work, *abandoned);
          post_surely(executor, std::move(caller));
        });
      },
      asio::use_awaitable);
}

}  // namespace diffused
