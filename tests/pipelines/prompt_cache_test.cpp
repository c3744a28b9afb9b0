#include "pipelines/prompt_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace diffused::pipelines {
namespace {

// An embedding of 8 bytes.
PromptCache::Entry embedding() {
  return std::make_shared<const PromptEmbedding>(
      PromptEmbedding{.context = at::zeros({1, 1, 1}), .repeats = {}, .pooled = at::zeros({1, 1})});
}

TEST(PromptCache, LetsTheLeastRecentlyUsedGo) {
  PromptCache cache(16);
  cache.insert("a", embedding(), false);
  cache.insert("b", embedding(), false);
  EXPECT_TRUE(cache.find("a"));
  cache.insert("c", embedding(), false);
  EXPECT_TRUE(cache.find("a"));
  EXPECT_FALSE(cache.find("b"));
  EXPECT_TRUE(cache.find("c"));
  EXPECT_EQ(cache.stats().prompt_cache_bytes, 16u);
}

TEST(PromptCache, KeepsThePinnedOnesAndNothingWithoutRoom) {
  PromptCache cache(0);
  cache.insert("pinned", embedding(), true);
  cache.insert("a", embedding(), false);
  EXPECT_TRUE(cache.find("pinned"));
  EXPECT_FALSE(cache.find("a"));
}

TEST(PromptCache, CountsHitsAndMisses) {
  PromptCache cache(100);
  EXPECT_FALSE(cache.find("a"));
  cache.insert("a", embedding(), false);
  cache.insert("a", embedding(), false);  // two rows may have encoded it
  EXPECT_TRUE(cache.find("a"));
  const PipelineStats stats = cache.stats();
  EXPECT_EQ(stats.prompt_cache_hits, 1u);
  EXPECT_EQ(stats.prompt_cache_misses, 2u);
  EXPECT_EQ(stats.prompt_cache_bytes, 8u);
}

}  // namespace
}  // namespace diffused::pipelines
