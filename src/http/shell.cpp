#include "http/shell.h"

#include <utility>

namespace diffused::http {

Shell::Shell(Limits limits, HostPolicy policy, std::vector<Route> routes, ErrorResponder respond_error,
             std::shared_ptr<Observer> observer, std::shared_ptr<MemoryBudget> memory)
    : limits(limits),
      policy(std::move(policy)),
      router(std::move(routes)),
      respond_error(std::move(respond_error)),
      observer(observer ? std::move(observer) : std::make_shared<Observer>()),
      memory(std::move(memory)) {}

}  // namespace diffused::http
