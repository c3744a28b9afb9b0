#include "storage/directory_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include "support/fake_clock.h"
#include "support/files.h"

namespace diffused::storage {
namespace {

class DirectoryStoreTest : public testing::Test {
 protected:
  std::unique_ptr<DirectoryStore> open(std::uint64_t bytes_max = 1000) {
    auto store = DirectoryStore::open(path_, {bytes_max}, clock_);
    EXPECT_TRUE(store) << store.error().message;
    return *std::move(store);
  }
  Blob blob(std::string bytes) const {
    return {std::make_shared<const std::string>(std::move(bytes)), "image/png", clock_.unix_seconds() + 3600};
  }
  std::vector<std::filesystem::path> files() const {
    return {std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()};
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "state" / "pictures";
  test::FakeClock clock_;
};

TEST_F(DirectoryStoreTest, FindsItsFilesAgainAfterARestart) {
  ASSERT_TRUE(open()->put("img_1", blob("kitten")));
  const auto store = open();
  const auto found = store->get("img_1");
  ASSERT_TRUE(found);
  EXPECT_EQ(*found->bytes, "kitten");
  EXPECT_EQ(found->content_type, "image/png");
  EXPECT_EQ(store->bytes(), 6u);
}

TEST_F(DirectoryStoreTest, KeepsFilesThatOnlyItsOwnerReads) {
  const auto store = open();
  ASSERT_TRUE(store->put("img_1", blob("kitten")));
  ASSERT_EQ(files().size(), 1u);
  EXPECT_EQ(files()[0].extension(), ".png");
  EXPECT_EQ(std::filesystem::status(files()[0]).permissions(), std::filesystem::perms(0600));
}

TEST_F(DirectoryStoreTest, ClearsLeftoversAtTheStartAndLeavesStrangersAlone) {
  ASSERT_TRUE(open()->put("img_1", blob("kitten")));
  write_file(path_ / "img_2.tmp", "half a pict");
  write_file(path_ / "notes.txt", "mine");
  clock_.advance(7200);
  const auto store = open();
  EXPECT_EQ(store->bytes(), 0u);
  ASSERT_EQ(files().size(), 1u);
  EXPECT_EQ(files()[0].filename(), "notes.txt");
}

TEST_F(DirectoryStoreTest, ShrinksToASmallerQuotaAtTheStart) {
  {
    const auto store = open();
    ASSERT_TRUE(store->put("img_1", blob(std::string(60, 'a'))));
    ASSERT_TRUE(store->put("img_2", blob(std::string(60, 'b'))));
  }
  EXPECT_EQ(open(100)->bytes(), 60u);
  EXPECT_EQ(files().size(), 1u);
  EXPECT_EQ(open(10)->bytes(), 0u);
  EXPECT_TRUE(files().empty());
}

TEST_F(DirectoryStoreTest, EvictsWhatCameFirstOfOneSecond) {
  const auto store = open(100);
  const char* const ids[] = {"img_5", "img_1", "img_4", "img_2", "img_3"};  // in no order of their own
  for (const char* id : ids) ASSERT_TRUE(store->put(id, blob(std::string(40, 'a'))));
  for (const char* id : {"img_5", "img_1", "img_4"}) EXPECT_FALSE(*store->has(id)) << id;
  for (const char* id : {"img_2", "img_3"}) EXPECT_TRUE(*store->has(id)) << id;
}

TEST_F(DirectoryStoreTest, RefusesWhatHasNoRoomWhereNothingMayBeEvicted) {
  const auto store = DirectoryStore::open(path_, {10, WhenFull::refuse}, clock_).value();
  ASSERT_TRUE(store->put("img_1", blob("kitten")));
  const auto refused = store->put("img_2", blob("kitten"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "storage_full");
  EXPECT_TRUE(store->get("img_1"));
  EXPECT_TRUE(store->put("img_3", blob("four")));
}

TEST_F(DirectoryStoreTest, KeepsNothingMoreWhenTheDiskIsNearlyFull) {
  const auto store =
      DirectoryStore::open(path_, {1000, WhenFull::evict, std::uint64_t{1} << 62}, clock_).value();
  EXPECT_EQ(store->check_room().error().reason, "storage_full");
  EXPECT_EQ(store->put("img_1", blob("kitten")).error().reason, "storage_full");
  EXPECT_TRUE(files().empty());
}

TEST_F(DirectoryStoreTest, HasRoomWhereNoFloorIsSet) { EXPECT_TRUE(open()->check_room()); }

TEST_F(DirectoryStoreTest, TellsDamageAndRemovesIt) {
  const auto store = open();
  for (const std::string damaged : {"kittem", "kit", "kitten and more", ""}) {
    ASSERT_TRUE(store->put("img_1", blob("kitten")));
    write_file(files()[0], damaged);
    const auto found = store->get("img_1");
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, ErrorCode::data_loss);
    EXPECT_TRUE(files().empty());
  }
}

TEST_F(DirectoryStoreTest, DoesNotFollowALinkPutInAFilesPlace) {
  const auto store = open();
  ASSERT_TRUE(store->put("img_1", blob("kitten")));
  write_file(folder_.path() / "secret", "kitten");
  const auto file = files()[0];
  std::filesystem::remove(file);
  std::filesystem::create_symlink(folder_.path() / "secret", file);
  const auto found = store->get("img_1");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::data_loss);
  EXPECT_EQ(read_file(folder_.path() / "secret"), "kitten");
}

TEST_F(DirectoryStoreTest, SaysNotFoundWhenSomebodyDeletedTheFile) {
  const auto store = open();
  ASSERT_TRUE(store->put("img_1", blob("kitten")));
  std::filesystem::remove(files()[0]);
  EXPECT_EQ(store->get("img_1").error().code, ErrorCode::not_found);
}

TEST_F(DirectoryStoreTest, LeavesNothingBehindWhenTheDiskIsFull) {
  const auto store = open();
  // The limit on a file's size stands in for a full disk: the write fails half way.
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit tiny{4, limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tiny);
  const auto refused = store->put("img_1", blob("kitten"));
  setrlimit(RLIMIT_FSIZE, &limit);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_EQ(refused.error().reason, "storage_full");
  EXPECT_TRUE(files().empty());
  EXPECT_EQ(store->bytes(), 0u);
  EXPECT_TRUE(store->put("img_1", blob("kitten")));
}

TEST_F(DirectoryStoreTest, MakesItsFolderAnewWhenSomebodyRemovesIt) {
  const auto store = open();
  ASSERT_TRUE(store->put("img_1", blob("kitten")));
  std::filesystem::remove_all(path_);
  EXPECT_EQ(store->get("img_1").error().code, ErrorCode::not_found);
  ASSERT_TRUE(store->put("img_2", blob("cat")));
  EXPECT_EQ(*store->get("img_2")->bytes, "cat");
  EXPECT_EQ(store->bytes(), 3u);
  EXPECT_EQ(files().size(), 1u);
  // It is its own again.
  EXPECT_FALSE(DirectoryStore::open(path_, {1000}, clock_));
}

TEST_F(DirectoryStoreTest, TakesTheFolderThatIsPutInThePlaceOfItsOwn) {
  const auto aside = folder_.path() / "aside";
  ASSERT_TRUE(open()->put("img_1", blob("kitten")));
  std::filesystem::rename(path_, aside);
  const auto store = open();
  ASSERT_TRUE(store->put("img_2", blob("cat")));
  std::filesystem::remove_all(path_);
  std::filesystem::rename(aside, path_);
  store->sweep();
  EXPECT_EQ(*store->get("img_1")->bytes, "kitten");
  EXPECT_EQ(store->get("img_2").error().code, ErrorCode::not_found);
}

TEST_F(DirectoryStoreTest, SaysThatItsFolderIsAwayAndGoesOnWhenItIsBack) {
  const auto store = open();
  std::filesystem::remove_all(path_.parent_path());
  write_file(path_.parent_path(), "a file in the way");
  const auto refused = store->put("img_1", blob("kitten"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_EQ(refused.error().reason, "storage_failed");
  EXPECT_TRUE(refused.error().retry_after);
  EXPECT_EQ(store->check_room().error().reason, "storage_failed");
  store->sweep();
  EXPECT_FALSE(store->check_room());
  std::filesystem::remove(path_.parent_path());
  store->sweep();
  EXPECT_TRUE(store->check_room());
  EXPECT_TRUE(store->put("img_1", blob("kitten")));
}

TEST_F(DirectoryStoreTest, CountsTheBytesOfIdsThatBeginAlike) {
  const auto store = open();
  for (const char* id : {"in_a_1", "in_a_2", "in_ab_1", "in_b_1"})
    ASSERT_TRUE(store->put(id, blob("kitten")));
  EXPECT_EQ(store->bytes_of("in_a_"), 12u);
  EXPECT_EQ(store->bytes_of("in_c_"), 0u);
}

TEST_F(DirectoryStoreTest, LetsOneServerUseAFolder) {
  const auto store = open();
  const auto second = DirectoryStore::open(path_, {1000}, clock_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::unavailable);
}

TEST_F(DirectoryStoreTest, SaysWhenTheFolderCannotBeMade) {
  write_file(folder_.path() / "state", "a file in the way");
  const auto store = DirectoryStore::open(path_, {1000}, clock_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::invalid_argument);
}

TEST_F(DirectoryStoreTest, RefusesAContentTypeItCannotName) {
  Blob page = blob("<html>");
  page.content_type = "text/html";
  EXPECT_EQ(open()->put("img_1", page).error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace diffused::storage
