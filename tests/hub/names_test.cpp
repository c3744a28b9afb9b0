// What names are taken, from people and from a hub; and the settings of the environment.
#include <gtest/gtest.h>

#include <map>

#include "hub/cache.h"
#include "hub/environment.h"
#include "hub/repo.h"
#include "support/files.h"

namespace diffused::hub {
namespace {

namespace fs = std::filesystem;

Variables variables(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const char* name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

TEST(Repo, HasAnOwnerANameAndPerhapsARevision) {
  const auto repo = parse_repo("stabilityai/stable-diffusion-3.5_medium@refs/pr/7");
  ASSERT_TRUE(repo);
  EXPECT_EQ(repo->id(), "stabilityai/stable-diffusion-3.5_medium");
  EXPECT_EQ(repo->revision, "refs/pr/7");
  EXPECT_EQ(parse_repo("a/b")->revision, "main");
}

TEST(Repo, RefusesWhatTheHubWouldNotNameSo) {
  for (const char* const text :
       {"", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/b@", "a/b@../c", "a/b@c/", "a/b@.c", "a b/c",
        "a/b--c", "a/-b", "a/b.", "a/b\n", "a\\b/c", "models/\xc3\xa9"}) {
    EXPECT_FALSE(parse_repo(text)) << text;
  }
  EXPECT_FALSE(parse_repo("a/" + std::string(95, 'b')));
  EXPECT_FALSE(parse_repo("a/b@" + std::string(129, 'c')));
}

TEST(ListedNames, StayWithinTheRepository) {
  for (const char* const path : {"vae/config.json", "a b/(1).png", ".gitattributes"})
    EXPECT_TRUE(check_listed(path)) << path;
  for (const char* const path : {"", "/x", "x/", "a//b", "..", "a/../b", "a/.", "a\\b", "a\tb"})
    EXPECT_FALSE(check_listed(path)) << path;
}

TEST(ListedNames, AreNeverPrintedAsATerminalsOrders) {
  EXPECT_EQ(check_listed("a\x1b[2J").error().message.find('\x1b'), std::string::npos);
}

TEST(WantedNames, AreOfPlainLetters) {
  EXPECT_TRUE(check_wanted("text_encoder/model-00001-of-00002.safetensors"));
  for (const char* const path : {"a b", "a%2Fb", "a?b", "a#b", "\xc3\xa9", "../a"})
    EXPECT_FALSE(check_wanted(path)) << path;
}

TEST(Settings, TheCacheIsWhereTheHubsToolsLook) {
  EXPECT_EQ(cache_folder(variables({{"HOME", "/h"}})), "/h/.cache/huggingface/hub");
  EXPECT_EQ(cache_folder(variables({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}})), "/x/huggingface/hub");
  EXPECT_EQ(cache_folder(variables({{"HF_HOME", "/f"}, {"XDG_CACHE_HOME", "/x"}})), "/f/hub");
  EXPECT_EQ(cache_folder(variables({{"HF_HUB_CACHE", "/c"}, {"HF_HOME", "/f"}})), "/c");
}

TEST(Settings, ATokenComesFromTheVariableOrAFile) {
  TemporaryFolder folder;
  std::ofstream(folder.path() / "token") << "hf_home\n";
  std::ofstream(folder.path() / "other") << "  hf_other \r\n";
  const std::string home = folder.path().string();
  EXPECT_EQ(read_environment(variables({{"HF_HOME", home}}))->token, "hf_home");
  EXPECT_EQ(read_environment(variables({{"HF_HOME", home}, {"HF_TOKEN_PATH", home + "/other"}}))->token,
            "hf_other");
  EXPECT_EQ(read_environment(variables({{"HF_HOME", home}, {"HF_TOKEN", "hf_set"}}))->token, "hf_set");
  EXPECT_EQ(read_environment(variables({{"HF_HOME", home + "/nowhere"}}))->token, "");
}

TEST(Settings, RefusesWhatCannotBe) {
  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"HF_ENDPOINT", "ftp://hub"}, {"HF_TOKEN", "a\nb"}, {"HF_HUB_DOWNLOAD_TIMEOUT", "1s"}}) {
    const auto settings = read_environment(variables({{name, value}, {"HF_HOME", "/nowhere"}}));
    ASSERT_FALSE(settings) << name;
    EXPECT_NE(settings.error().message.find(name), std::string::npos);
  }
}

TEST(Cache, ARefLeadsToItsSnapshot) {
  TemporaryFolder cache;
  const std::string commit(40, 'a');
  const Repo repo = *parse_repo("a/b.c");
  const fs::path folder = cache.path() / "models--a--b.c";
  EXPECT_EQ(repo_folder(cache.path(), repo), folder);
  EXPECT_EQ(find_snapshot(cache.path(), repo).error().code, ErrorCode::not_found);
  fs::create_directories(folder / "snapshots" / commit);
  EXPECT_EQ(find_snapshot(cache.path(), repo).error().code, ErrorCode::not_found);
  EXPECT_EQ(*find_snapshot(cache.path(), *parse_repo("a/b.c@" + commit)), folder / "snapshots" / commit);
  fs::create_directories(folder / "refs/refs/pr");
  std::ofstream(folder / "refs/main") << commit << "\n";
  std::ofstream(folder / "refs/refs/pr/1") << commit;
  EXPECT_EQ(*find_snapshot(cache.path(), repo), folder / "snapshots" / commit);
  const auto all = list_snapshots(cache.path());
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].repo.id(), "a/b.c");
  EXPECT_EQ(all[0].repo.revision, "main");
  EXPECT_EQ(all[1].repo.revision, "refs/pr/1");
  std::ofstream(folder / "refs/main") << "../../x";
  EXPECT_EQ(find_snapshot(cache.path(), repo).error().code, ErrorCode::data_loss);
}

}  // namespace
}  // namespace diffused::hub
