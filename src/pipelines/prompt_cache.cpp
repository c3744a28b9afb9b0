#include "pipelines/prompt_cache.h"

namespace diffused::pipelines {

PromptCache::Entry PromptCache::find(const std::string& key) {
  if (const auto pinned = pinned_.find(key); pinned != pinned_.end()) {
    ++hits_;
    return pinned->second;
  }
  const auto place = places_.find(key);
  if (place == places_.end()) return nullptr;
  ++hits_;
  recent_.splice(recent_.begin(), recent_, place->second);
  return place->second->entry;
}

void PromptCache::insert(const std::string& key, Entry entry, bool pinned) {
  ++misses_;
  if (pinned) {
    pinned_.emplace(key, std::move(entry));
    return;
  }
  if (places_.contains(key)) return;
  bytes_ += entry->bytes();
  recent_.push_front({key, std::move(entry)});
  places_.emplace(key, recent_.begin());
  while (bytes_ > bytes_max_) {
    bytes_ -= recent_.back().entry->bytes();
    places_.erase(recent_.back().key);
    recent_.pop_back();
  }
}

PipelineStats PromptCache::stats() const {
  return {.prompt_cache_hits = hits_, .prompt_cache_misses = misses_, .prompt_cache_bytes = bytes_};
}

}  // namespace diffused::pipelines
