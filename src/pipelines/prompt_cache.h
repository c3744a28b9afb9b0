// Embeddings of recent prompts, so that a prompt asked for again starts at its first denoising step.
#pragma once

#include <atomic>
#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "job/pipeline.h"
#include "pipelines/family.h"

namespace diffused::pipelines {

// Device thread only, but for stats(). Entries are shared: a row keeps its own alive when the cache lets go
// of it.
class PromptCache {
 public:
  using Entry = std::shared_ptr<const PromptEmbedding>;

  explicit PromptCache(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // The embedding of this key, which counts as a hit and as its latest use; null when it is not here.
  Entry find(const std::string& key);

  // Keeps a new embedding, which counts as a miss; the least recently used ones go until all fit the byte
  // limit. A pinned one stays for good and does not count towards the limit: for the empty prompt, that
  // nearly every request needs.
  void insert(const std::string& key, Entry entry, bool pinned);

  // Any thread.
  PipelineStats stats() const;

 private:
  struct Kept {
    std::string key;
    Entry entry;
  };

  const std::size_t bytes_max_;
  std::list<Kept> recent_;  // the latest used first
  std::unordered_map<std::string, std::list<Kept>::iterator> places_;
  std::unordered_map<std::string, Entry> pinned_;
  std::atomic<std::uint64_t> hits_ = 0, misses_ = 0, bytes_ = 0;
};

}  // namespace diffused::pipelines
