// What every store promises, held against each of them.
#include "storage/blob_store.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/ids.h"
#include "storage/directory_store.h"
#include "storage/memory_store.h"
#include "storage/s3_store.h"
#include "storage/shared_directory_store.h"
#include "support/fake_clock.h"
#include "support/files.h"
#include "support/s3_standin.h"

namespace diffused::storage {
namespace {

constexpr std::uint64_t kBytesMax = 100;

class AnyStore : public testing::TestWithParam<const char*> {
 protected:
  AnyStore() {
    if (GetParam() == std::string("memory")) {
      store_ = std::make_unique<MemoryStore>(kBytesMax, clock_);
    } else if (GetParam() == std::string("directory")) {
      store_ = *DirectoryStore::open(folder_.path() / "pictures", {kBytesMax}, clock_);
    } else if (GetParam() == std::string("s3")) {
      bucket_ = std::make_unique<test::S3Standin>();
      store_ = *S3Store::open(bucket_->address(), "pictures", {kBytesMax}, clock_);
    } else {
      store_ = *SharedDirectoryStore::open(folder_.path() / "pictures", {kBytesMax}, clock_);
    }
  }

  Blob blob(std::string bytes, std::int64_t lifetime = 3600) const {
    return {std::make_shared<const std::string>(std::move(bytes)), "image/png",
            clock_.unix_seconds() + lifetime};
  }
  ErrorCode missing(std::string_view id) {
    const auto found = store_->get(id);
    return found ? ErrorCode::internal : found.error().code;
  }

  TemporaryFolder folder_;
  test::FakeClock clock_;
  std::unique_ptr<test::S3Standin> bucket_;
  std::unique_ptr<BlobStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Stores, AnyStore, testing::Values("memory", "directory", "shared", "s3"));

TEST_P(AnyStore, GivesBackWhatWasPut) {
  ASSERT_TRUE(store_->put("img_1", blob("kitten")));
  const auto found = store_->get("img_1");
  ASSERT_TRUE(found);
  EXPECT_EQ(*found->bytes, "kitten");
  EXPECT_EQ(found->content_type, "image/png");
  EXPECT_EQ(found->expires, clock_.unix_seconds() + 3600);
}

TEST_P(AnyStore, ReplacesAnIdThatIsPutAgain) {
  ASSERT_TRUE(store_->put("img_1", blob("old")));
  ASSERT_TRUE(store_->put("img_1", blob("newer")));
  ASSERT_TRUE(store_->put("img_1", blob("newer")));
  EXPECT_EQ(*store_->get("img_1")->bytes, "newer");
  EXPECT_EQ(store_->bytes(), 5u);
}

TEST_P(AnyStore, HidesWhatHasExpiredBeforeTheSweepRemovesIt) {
  ASSERT_TRUE(store_->put("img_1", blob("short", 10)));
  ASSERT_TRUE(store_->put("img_2", blob("long", 20)));
  clock_.advance(10);
  EXPECT_EQ(missing("img_1"), ErrorCode::not_found);
  EXPECT_EQ(store_->bytes(), 9u);
  EXPECT_EQ(store_->sweep(), 1u);
  EXPECT_EQ(store_->bytes(), 4u);
  EXPECT_TRUE(store_->get("img_2"));
}

TEST_P(AnyStore, EvictsWhatWouldExpireFirst) {
  ASSERT_TRUE(store_->put("img_later", blob(std::string(40, 'a'), 50)));
  ASSERT_TRUE(store_->put("img_sooner", blob(std::string(40, 'b'), 30)));
  ASSERT_TRUE(store_->put("img_new", blob(std::string(40, 'c'), 20)));
  EXPECT_EQ(missing("img_sooner"), ErrorCode::not_found);
  EXPECT_TRUE(store_->get("img_later"));
  EXPECT_TRUE(store_->get("img_new"));
  EXPECT_LE(store_->bytes(), kBytesMax);
}

TEST_P(AnyStore, RefusesWhatIsLargerThanTheStoreAndKeepsTheRest) {
  ASSERT_TRUE(store_->put("img_1", blob("kitten")));
  const auto refused = store_->put("img_2", blob(std::string(101, 'x')));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::payload_too_large);
  EXPECT_TRUE(store_->get("img_1"));
}

TEST_P(AnyStore, TakesOnlyIdsThatMeanNothingToAFileSystem) {
  for (const std::string id : {"", "../x", "a/b", "a.b", "A", "a b", "%2e", "img_\n"}) {
    const auto refused = store_->put(id, blob("x"));
    ASSERT_FALSE(refused) << id;
    EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(missing(id), ErrorCode::not_found) << id;
  }
  EXPECT_FALSE(store_->put(std::string(65, 'a'), blob("x")));
  EXPECT_TRUE(store_->put(random_id("img_"), blob("x")));
}

TEST_P(AnyStore, RemovesAndDoesNotMindRemovingTwice) {
  ASSERT_TRUE(store_->put("img_1", blob("kitten")));
  EXPECT_TRUE(store_->remove("img_1"));
  EXPECT_TRUE(store_->remove("img_1"));
  EXPECT_EQ(missing("img_1"), ErrorCode::not_found);
  EXPECT_EQ(store_->bytes(), 0u);
}

TEST_P(AnyStore, ServesManyThreads) {
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 30; ++i) {
        const std::string id = "img_" + std::to_string(t) + "_" + std::to_string(i);
        EXPECT_TRUE(store_->put(id, blob(std::string(20, 'x'))));
        const auto found = store_->get(id);  // another thread's put may have evicted it
        EXPECT_TRUE(found || found.error().code == ErrorCode::not_found);
        store_->sweep();
      }
    });
  }
  threads.clear();
  EXPECT_LE(store_->bytes(), kBytesMax);
}

}  // namespace
}  // namespace diffused::storage
