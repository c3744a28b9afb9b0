#include "storage/shared_directory_store.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/ids.h"
#include "support/fake_clock.h"
#include "support/files.h"

namespace diffused::storage {
namespace {

class SharedDirectoryStoreTest : public testing::Test {
 protected:
  // Another server on the same folder.
  std::unique_ptr<SharedDirectoryStore> open(DirectoryLimits limits = {1000}) {
    auto store = SharedDirectoryStore::open(path_, limits, clock_);
    EXPECT_TRUE(store) << store.error().message;
    return *std::move(store);
  }
  Blob blob(std::string bytes, std::int64_t lifetime = 3600) const {
    return {std::make_shared<const std::string>(std::move(bytes)), "image/png",
            clock_.unix_seconds() + lifetime};
  }
  std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_))
      if (entry.is_regular_file()) found.push_back(entry.path());
    return found;
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "shared" / "pictures";
  test::FakeClock clock_;
};

TEST_F(SharedDirectoryStoreTest, ShowsEachServerWhatTheOthersKeep) {
  const auto one = open(), other = open();
  ASSERT_TRUE(one->put("img_1", blob("kitten")));
  const auto found = other->get("img_1");
  ASSERT_TRUE(found);
  EXPECT_EQ(*found->bytes, "kitten");
  EXPECT_TRUE(other->remove("img_1"));
  EXPECT_EQ(one->get("img_1").error().code, ErrorCode::not_found);
  EXPECT_EQ(open()->bytes(), 0u);
}

TEST_F(SharedDirectoryStoreTest, CountsWhatTheOthersKeepAtTheNextSweep) {
  const auto one = open(), other = open();
  ASSERT_TRUE(one->put("img_1", blob("kitten")));
  EXPECT_EQ(other->bytes(), 0u);
  EXPECT_EQ(other->sweep(), 0u);
  EXPECT_EQ(other->bytes(), 6u);
}

TEST_F(SharedDirectoryStoreTest, RemovesWhatAnyServerPutWhenItHasExpired) {
  const auto one = open(), other = open();
  ASSERT_TRUE(one->put("img_1", blob("kitten", 10)));
  clock_.advance(10);
  EXPECT_EQ(other->sweep(), 1u);
  EXPECT_EQ(one->sweep(), 0u);
  EXPECT_TRUE(files().empty());
}

TEST_F(SharedDirectoryStoreTest, RefusesWhatHasNoRoomWhereNothingMayBeEvicted) {
  const auto one = open({10, WhenFull::refuse}), other = open({10, WhenFull::refuse});
  ASSERT_TRUE(one->put("img_1", blob("kitten", 60)));
  EXPECT_TRUE(other->put("img_2", blob("four")));
  EXPECT_EQ(one->put("img_3", blob("kitten")).error().reason, "storage_full");
  clock_.advance(60);
  EXPECT_TRUE(one->put("img_3", blob("kitten")));
}

TEST_F(SharedDirectoryStoreTest, TellsDamageAndRemovesIt) {
  const auto store = open();
  for (const std::string damaged : {"kittem", "kit", ""}) {
    ASSERT_TRUE(store->put("img_1", blob("kitten")));
    write_file(files().at(0), damaged);
    EXPECT_EQ(store->get("img_1").error().code, ErrorCode::data_loss);
    EXPECT_TRUE(files().empty());
  }
}

TEST_F(SharedDirectoryStoreTest, LeavesAloneWhatAnotherServerIsWritingAndClearsWhatNobodyFinished) {
  const auto store = open();
  ASSERT_TRUE(store->put("img_01", blob("kitten", 10'000'000)));
  const auto half = files().at(0).parent_path() / "img_201.tmp";
  write_file(half, "half a pict");
  std::filesystem::last_write_time(
      half, std::filesystem::file_time_type::clock::now() - std::chrono::hours(24 * 365 * 5));
  const auto young = files().at(0).parent_path() / "img_301.tmp";
  write_file(young, "half a pict");
  store->sweep();
  EXPECT_FALSE(std::filesystem::exists(half));
  EXPECT_TRUE(std::filesystem::exists(young));
  EXPECT_TRUE(store->get("img_01"));
}

TEST_F(SharedDirectoryStoreTest, SaysWhenTheFolderCannotBeMade) {
  write_file(folder_.path() / "shared", "a file in the way");
  const auto store = SharedDirectoryStore::open(path_, {1000}, clock_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::invalid_argument);
}

TEST_F(SharedDirectoryStoreTest, KeepsNothingMoreWhenTheDiskIsNearlyFull) {
  const auto store = open({1000, WhenFull::evict, std::uint64_t{1} << 62});
  EXPECT_EQ(store->check_room().error().reason, "storage_full");
  EXPECT_EQ(store->put("img_1", blob("kitten")).error().reason, "storage_full");
  EXPECT_TRUE(files().empty());
}

TEST_F(SharedDirectoryStoreTest, ServesManyServersAtOnce) {
  std::vector<std::jthread> servers;
  for (int server = 0; server < 3; ++server) {
    servers.emplace_back([this] {
      const auto store = open({1 << 20});
      for (int i = 0; i < 20; ++i) {
        const std::string id = random_id("img_");
        EXPECT_TRUE(store->put(id, blob(id)));
        EXPECT_EQ(*store->get(id)->bytes, id);
        if (i % 5 == 0) store->sweep();
      }
    });
  }
  servers.clear();
  EXPECT_EQ(files().size(), 60u);
}

}  // namespace
}  // namespace diffused::storage
