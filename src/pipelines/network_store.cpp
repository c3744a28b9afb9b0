#include "pipelines/network_store.h"

#include <algorithm>

namespace diffused::pipelines {

NetworkStore::Record& NetworkStore::find(std::any kind, weights::Fingerprint tensors,
                                         const std::set<std::uint64_t>& taken,
                                         const std::function<bool(const std::any&)>& same_kind) {
  const auto found = std::ranges::find_if(records_, [&](const Record& record) {
    return !taken.contains(record.facts.id) && same_kind(record.kind) &&
           comparer_.equal(record.tensors, tensors);
  });
  if (found != records_.end()) {
    // Those may be gone by now, while these are to be read.
    if (found->network.expired()) found->tensors = std::move(tensors);
    return *found;
  }
  // Of files that have been replaced nothing comes back.
  std::erase_if(records_, [](const Record& record) {
    return record.network.expired() && !record.tensors.is_current();
  });
  Record& record = records_.emplace_back();
  record.facts.id = ++last_id_;
  record.kind = std::move(kind);
  record.tensors = std::move(tensors);
  return record;
}

}  // namespace diffused::pipelines
