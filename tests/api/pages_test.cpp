#include <gtest/gtest.h>

#include "api/fixture.h"
#include "api/pages/page_files.h"
#include "support/files.h"

namespace diffused::api {
namespace {

struct Pages : ApiFixture, testing::Test {
  TemporaryFolder folder;
};

TEST_F(Pages, AreNotSentAgainWhileTheyAreTheSame) {
  const std::string tag = header_of(ask("GET", "/pages/style.css"), "ETag");
  ASSERT_FALSE(tag.empty());
  http::Request again = request("GET", "/pages/style.css");
  again.headers.emplace_back("if-none-match", tag);
  EXPECT_EQ(ask(std::move(again)).status, 304);
}

TEST_F(Pages, ComeFromAFolderWhileTheyAreEdited) {
  api.options.pages_dir = folder.path();
  EXPECT_EQ(*ask("GET", "/pages/make.js").body, find_page_file("make.js")->text);
  write_file(folder.path() / "make.js", "edited");
  const auto edited = ask("GET", "/pages/make.js");
  EXPECT_EQ(*edited.body, "edited");
  EXPECT_EQ(header_of(edited, "Cache-Control"), "no-store");
}

TEST_F(Pages, NeverLeaveTheFolder) {
  std::filesystem::create_directory(folder.path() / "pages");
  write_file(folder.path() / "secret.js", "secret");
  for (const char* name :
       {"../secret.js", "/../secret.js", "a/../../secret.js", ".hidden.js", "%2e%2e/secret.js", ""})
    EXPECT_FALSE(read_page_file(folder.path() / "pages", name)) << name;
  EXPECT_FALSE(read_page_file(folder.path(), "pages"));
  EXPECT_TRUE(read_page_file(folder.path(), "secret.js"));
}

}  // namespace
}  // namespace diffused::api
