#include "storage/s3_store.h"

#include <gtest/gtest.h>

#include "storage/s3_listing.h"
#include "storage/sha256.h"
#include "support/fake_clock.h"
#include "support/s3_standin.h"

namespace diffused::storage {
namespace {

using namespace std::chrono_literals;

class S3StoreTest : public testing::Test {
 protected:
  Result<std::unique_ptr<S3Store>> try_open(S3Limits limits, const std::string& folder = "images") {
    limits.patience.pause = 0ms;
    return S3Store::open(bucket_.address(), folder, limits, clock_);
  }
  std::unique_ptr<S3Store> open(S3Limits limits = {1000}) {
    auto store = try_open(limits);
    EXPECT_TRUE(store) << store.error().message;
    return *std::move(store);
  }
  Blob blob(std::string bytes, std::int64_t lifetime = 3600) const {
    return {std::make_shared<const std::string>(std::move(bytes)), "image/png",
            clock_.unix_seconds() + lifetime};
  }
  static std::string reason(const auto& result) { return result ? "none" : result.error().reason; }

  test::S3Standin bucket_;
  test::FakeClock clock_;
};

TEST_F(S3StoreTest, ShowsEachServerWhatTheOthersKeep) {
  const auto one = open(), other = open();
  ASSERT_TRUE(one->put("img_1", blob("kitten")));
  EXPECT_EQ(*other->get("img_1")->bytes, "kitten");
  EXPECT_EQ(other->get("img_1")->content_type, "image/png");
  EXPECT_EQ(open()->bytes(), 6u);
  EXPECT_TRUE(other->remove("img_1"));
  EXPECT_EQ(one->get("img_1").error().code, ErrorCode::not_found);
  EXPECT_TRUE(bucket_.objects().empty());
}

TEST_F(S3StoreTest, NamesAnObjectByAllThatASweepNeedsToKnow) {
  const auto store = open();
  ASSERT_TRUE(store->put("img_1", blob("kitten", 10)));
  ASSERT_EQ(bucket_.objects().size(), 1u);
  EXPECT_EQ(bucket_.objects().begin()->first,
            "of/tests/images/img_1.1700000010." + sha256_hex("kitten") + ".png");
}

TEST_F(S3StoreTest, SweepsWhatAnyServerPutPageByPage) {
  const auto one = open(), other = open();
  for (const char* const id : {"img_1", "img_2", "img_3", "img_4", "img_5"})
    ASSERT_TRUE(one->put(id, blob("kitten", 10)));
  ASSERT_TRUE(one->put("img_6", blob("kitten", 20)));
  bucket_.put("of/tests/images/README", "not ours");
  clock_.advance(10);
  EXPECT_EQ(other->sweep(), 5u);
  EXPECT_EQ(other->bytes(), 6u);
  EXPECT_EQ(one->sweep(), 0u);
  EXPECT_EQ(bucket_.objects().size(), 2u);
}

TEST_F(S3StoreTest, RefusesWhatHasNoRoomWhereNothingMayBeEvicted) {
  const auto one = open({10, WhenFull::refuse}), other = open({10, WhenFull::refuse});
  ASSERT_TRUE(one->put("img_1", blob("kitten", 60)));
  EXPECT_TRUE(other->put("img_2", blob("four")));
  EXPECT_EQ(reason(one->put("img_3", blob("kitten"))), "storage_full");
  clock_.advance(60);
  EXPECT_TRUE(one->put("img_3", blob("kitten")));
}

TEST_F(S3StoreTest, KeepsToItsFolder) {
  const auto images = open();
  const auto inputs = *try_open({1000}, "inputs");
  ASSERT_TRUE(images->put("img_1", blob("kitten", 10)));
  clock_.advance(10);
  EXPECT_EQ(inputs->get("img_1").error().code, ErrorCode::not_found);
  EXPECT_EQ(inputs->sweep(), 0u);
  EXPECT_EQ(inputs->bytes(), 0u);
}

TEST_F(S3StoreTest, TellsDamageAndRemovesIt) {
  const auto store = open();
  for (const std::string damaged : {"kittem", "kit", "", "kitten and more"}) {
    ASSERT_TRUE(store->put("img_1", blob("kitten")));
    bucket_.put(bucket_.objects().begin()->first, damaged);
    EXPECT_EQ(store->get("img_1").error().code, ErrorCode::data_loss);
    EXPECT_TRUE(bucket_.objects().empty());
  }
}

TEST_F(S3StoreTest, TriesAgainWhatMayPass) {
  const auto store = open();
  bucket_.fail_next({{503, "SlowDown"}, {500, "InternalError"}});
  EXPECT_TRUE(store->put("img_1", blob("kitten")));
  bucket_.fail_next({{502, ""}, {429, ""}});
  EXPECT_TRUE(store->get("img_1"));
}

TEST_F(S3StoreTest, SaysWhatIsWrongAndLetsNobodyWaitForIt) {
  const auto store = open();
  ASSERT_TRUE(store->put("img_1", blob("kitten")));
  for (const auto& [status, word, expected] : {std::tuple{403, "InvalidAccessKeyId", "storage_failed"},
                                               {404, "NoSuchBucket", "storage_failed"},
                                               {507, "XMinioStorageFull", "storage_full"},
                                               {403, "QuotaExceeded", "storage_full"},
                                               {503, "SlowDown", "storage_failed"},
                                               {200 + 1, "<html", "storage_failed"}}) {
    bucket_.fail_all(status, word);
    const auto failed = store->get("img_1");
    EXPECT_EQ(reason(failed), expected) << word;
    EXPECT_EQ(failed.error().code, ErrorCode::unavailable);
    EXPECT_EQ(failed.error().message.find("127.0.0.1"), std::string::npos);
    EXPECT_EQ(reason(store->check_room()), expected);
    const int before = bucket_.requests();
    EXPECT_EQ(reason(store->put("img_2", blob("kitten"))), expected);
    EXPECT_EQ(store->sweep(), 0u);
    EXPECT_EQ(bucket_.requests(), before);  // nobody asks again so soon
    bucket_.fail_all(200, "");
    clock_.advance(5);
    EXPECT_TRUE(store->get("img_1"));
    EXPECT_TRUE(store->check_room());
  }
  EXPECT_TRUE(store->put("img_2", blob("kitten")));
}

TEST_F(S3StoreTest, ComesBackAtASweepWhenNobodyAsks) {
  const auto store = open();
  bucket_.fail_all(403, "AccessDenied");
  store->sweep();
  EXPECT_EQ(reason(store->check_room()), "storage_failed");
  bucket_.fail_all(200, "");
  clock_.advance(5);
  store->sweep();
  EXPECT_TRUE(store->check_room());
}

TEST_F(S3StoreTest, DoesNotWaitForEverForAServerThatSaysNothing) {
  S3Limits limits{1000};
  limits.patience.transfer = 300ms;
  limits.patience.attempts = 2;
  const auto store = open(limits);
  bucket_.fail_next({{0, ""}, {0, ""}});
  EXPECT_EQ(reason(store->put("img_1", blob("kitten"))), "storage_failed");
  clock_.advance(5);
  EXPECT_TRUE(store->put("img_1", blob("kitten")));
}

TEST_F(S3StoreTest, SaysAtTheStartWhoRefusesAndWhy) {
  bucket_.fail_all(403, "SignatureDoesNotMatch");
  const auto refused = try_open({1000});
  ASSERT_FALSE(refused);
  for (const std::string& word : {std::string("s3://pictures/of/tests/images"), bucket_.endpoint(),
                                  std::string("403, SignatureDoesNotMatch")})
    EXPECT_NE(refused.error().message.find(word), std::string::npos) << refused.error().message;
  bucket_.fail_all(200, "");
  auto wrong = bucket_.address();
  wrong.key_source.keys.secret = "another";
  const auto unsigned_one = S3Store::open(wrong, "images", {1000}, clock_);
  ASSERT_FALSE(unsigned_one);
  EXPECT_EQ(unsigned_one.error().message.find("another"), std::string::npos);
}

TEST(S3Listing, IsNothingElse) {
  for (const char* const text :
       {"", "<html>", "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><Contents><Key>x</Key></Contents></ListBucketResult>"})
    EXPECT_FALSE(read_listing(text)) << text;
  EXPECT_EQ(error_word("<Error><Code>No&#10;Word</Code></Error>"), "");
}

TEST(S3Listing, IsReadWithItsNamesAndItsNextPage) {
  const auto page = read_listing(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.example/doc/\">"
      "<IsTruncated>true</IsTruncated><Contents><Key>a/b &amp; "
      "c</Key><Size>12</Size><Owner><ID>x</ID></Owner>"
      "</Contents><Contents><Size>0</Size><Key>d</Key></Contents>"
      "<NextContinuationToken>t</NextContinuationToken></ListBucketResult>");
  ASSERT_TRUE(page);
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->objects[0].name, "a/b & c");
  EXPECT_EQ(page->objects[0].size, 12u);
  EXPECT_EQ(page->objects[1].name, "d");
  EXPECT_EQ(page->next, "t");
  EXPECT_EQ(error_word("<Error><Code>NoSuchBucket</Code><Message>x</Message></Error>"), "NoSuchBucket");
}

// A million levels would need a stack of hundreds of megabytes where each level is a call; a DOCTYPE could
// make a short document a long one.
TEST(S3Listing, OfAnyDepthOrWithDeclarationsEndsNothing) {
  std::string nested;
  for (int i = 0; i < 1'000'000; ++i) nested += "<a>";
  EXPECT_FALSE(read_listing(nested));
  EXPECT_EQ(error_word(nested), "");
  EXPECT_EQ(error_word("<!DOCTYPE Error [<!ENTITY x \"No\">]><Error><Code>&x;&x;</Code></Error>"), "");
}

}  // namespace
}  // namespace diffused::storage
