#include "storage/s3_keys.h"

#include <gtest/gtest.h>

#include <map>

#include "support/files.h"

namespace diffused::storage {
namespace {

class S3Key : public testing::Test {
 protected:
  Result<S3KeySource> find(std::map<std::string, std::string> values) const {
    return S3KeySource::find([&](const char* name) -> std::optional<std::string> {
      const auto found = values.find(name);
      return found == values.end() ? std::nullopt : std::optional(found->second);
    });
  }
  void write(const std::string& text) const {
    // As tools do it: beside, then in its place.
    write_file(folder_.path() / "new", text);
    std::filesystem::rename(folder_.path() / "new", file());
  }
  std::string file() const { return (folder_.path() / "credentials").string(); }

  TemporaryFolder folder_;
};

TEST_F(S3Key, ComesFromVariablesBeforeAFile) {
  write("[default]\naws_access_key_id = file\naws_secret_access_key = s\n");
  const auto both = find({{"AWS_ACCESS_KEY_ID", "id"},
                          {"AWS_SECRET_ACCESS_KEY", "secret"},
                          {"AWS_SHARED_CREDENTIALS_FILE", file()}});
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_EQ(both->keys.id, "id");
  EXPECT_TRUE(both->file.path.empty());
  EXPECT_EQ(find({{"AWS_SHARED_CREDENTIALS_FILE", file()}})->keys.id, "file");
}

TEST_F(S3Key, IsReadFromItsProfile) {
  write(
      "# aws_access_key_id = comment\n[default]\naws_access_key_id=one\naws_secret_access_key=a=b/c\r\n"
      "\n[ other ]\naws_access_key_id=two\n[other]\n  aws_secret_access_key =  three  \n"
      "; x\naws_access_key_id = four\nregion = x\naws_session_token = five\n");
  const auto first = find({{"AWS_SHARED_CREDENTIALS_FILE", file()}});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->keys.id, "one");
  EXPECT_EQ(first->keys.secret, "a=b/c");
  EXPECT_EQ(first->keys.token, "");
  const auto other = find({{"AWS_SHARED_CREDENTIALS_FILE", file()}, {"AWS_PROFILE", "other"}});
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_EQ(other->keys.id, "four");
  EXPECT_EQ(other->keys.secret, "three");
  EXPECT_EQ(other->keys.token, "five");
  EXPECT_FALSE(find({{"AWS_SHARED_CREDENTIALS_FILE", file()}, {"AWS_PROFILE", "none"}}));
}

TEST_F(S3Key, SaysWhatIsWrongWithoutTellingTheSecret) {
  EXPECT_FALSE(find({}));
  EXPECT_FALSE(find({{"AWS_SHARED_CREDENTIALS_FILE", file()}}));
  EXPECT_FALSE(find({{"AWS_ACCESS_KEY_ID", "id"}, {"AWS_SHARED_CREDENTIALS_FILE", file()}}));
  write("[default]\naws_access_key_id = id\naws_secret_access_key = hush hush\n");
  const auto refused = find({{"AWS_SHARED_CREDENTIALS_FILE", file()}});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find(file()), std::string::npos);
  EXPECT_EQ(refused.error().message.find("hush"), std::string::npos);
}

TEST_F(S3Key, IsReadAgainWhenItsFileHasChanged) {
  const auto keys = [](const std::string& id) {
    return "[default]\naws_access_key_id = " + id + "\naws_secret_access_key = secret\n";
  };
  write(keys("old"));
  FreshS3Keys fresh(find({{"AWS_SHARED_CREDENTIALS_FILE", file()}}).value());
  EXPECT_EQ(fresh.get().id, "old");
  write(keys("new"));
  EXPECT_EQ(fresh.get().id, "new");
  write("damaged");
  EXPECT_EQ(fresh.get().id, "new");
  std::filesystem::remove(file());
  EXPECT_EQ(fresh.get().id, "new");
  write(keys("newer"));
  EXPECT_EQ(fresh.get().id, "newer");
}

}  // namespace
}  // namespace diffused::storage
