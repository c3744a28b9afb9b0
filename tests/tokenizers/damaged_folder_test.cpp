// Folders that are missing, half-downloaded, damaged or of another kind: an error that names the file, never
// a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/files.h"
#include "tokenizers/data.h"
#include "tokenizers/tokenizer.h"

namespace diffused::tokenizers {
namespace {

using ::testing::HasSubstr;

Result<std::unique_ptr<Tokenizer>> load(const std::filesystem::path& folder, const std::string& name) {
  return load_kind(name, folder);
}

// A copy of a good folder with one file rewritten.
struct Damage {
  const char* folder;
  const char* file;
  std::string content;
  ErrorCode code = ErrorCode::data_loss;
};

const std::string kLfsPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 5\n";
const std::string kClipModel = R"({"added_tokens": [], "model": {"type": "BPE", "vocab": )";
const std::string kT5Model = R"({"added_tokens": [], "model": {"type": "Unigram", "vocab": )";
const std::string kT5Vocabulary = R"([["<pad>", 0], ["</s>", 0], ["<unk>", 0]])";

const std::vector<Damage> kDamages = {
    {"clip_l", "vocab.json", ""},
    {"clip_l", "vocab.json", "[1, 2]"},
    {"clip_l", "vocab.json", kLfsPointer},
    {"clip_l", "vocab.json", R"({"a": "1"})"},
    {"clip_l", "vocab.json", R"({"a": -1})"},
    {"clip_l", "vocab.json", R"({"a": 1.5})"},
    {"clip_l", "vocab.json", R"({"a": 99999999999})"},
    {"clip_l", "vocab.json", std::string(10'000, '[')},
    {"clip_l", "merges.txt", "a b c\n"},
    {"clip_l", "merges.txt", "a b\n\n"},
    {"clip_l", "merges.txt", "#version: 0.2\nun known\n"},
    {"clip_l", "merges.txt", kLfsPointer},
    {"clip_l", "tokenizer_config.json", "{"},
    {"clip_l", "tokenizer_config.json", R"({"model_max_length": "77"})"},
    {"clip_l", "tokenizer_config.json", R"({"model_max_length": 0})"},
    {"clip_l", "tokenizer_config.json", R"({"padding_side": "left"})", ErrorCode::unsupported},
    {"clip_l", "tokenizer_config.json", R"({"truncation_side": "left"})", ErrorCode::unsupported},
    {"clip_l", "tokenizer_config.json", R"({"added_tokens_decoder": []})"},
    {"clip_l", "tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "a"}}})"},
    {"clip_l", "tokenizer_config.json", R"({"added_tokens_decoder": {"1": {}}})"},
    {"clip_l", "tokenizer_config.json", R"({"added_tokens_decoder": {"1": "a"}})"},
    {"clip_l", "tokenizer_config.json", R"({"extra_special_tokens": {"a": "b"}})"},
    {"clip_l", "special_tokens_map.json", R"({"pad_token": 5})"},
    {"clip_l", "special_tokens_map.json", R"({"eos_token": {"content": null}})"},
    {"clip_l", "special_tokens_map.json", R"({"additional_special_tokens": "a"})"},
    {"clip_small", "added_tokens.json", R"({"<a>": "5"})"},
    {"clip_l_json", "tokenizer.json", "{}"},
    {"clip_l_json", "tokenizer.json", kLfsPointer},
    {"clip_l_json", "tokenizer.json", R"({"model": {"type": "WordPiece"}, "added_tokens": []})",
     ErrorCode::unsupported},
    {"clip_l_json", "tokenizer.json", kT5Model + kT5Vocabulary + "}}", ErrorCode::unsupported},
    {"clip_l_json", "tokenizer.json", kClipModel + R"({"a": 0}}})"},
    {"clip_l_json", "tokenizer.json", kClipModel + R"(["a"], "merges": []}})"},
    {"clip_l_json", "tokenizer.json", kClipModel + R"({"a": 0}, "merges": ["a"]}})"},
    {"clip_l_json", "tokenizer.json", kClipModel + R"({"a": 0}, "merges": [["a"]]}})"},
    {"clip_l_json", "tokenizer.json", kClipModel + R"({"a": 0}, "merges": [["a", 1]]}})"},
    {"clip_l_json", "tokenizer.json", kClipModel + R"({"a": 0}, "merges": [["a", "b"]]}})"},
    {"clip_l_json", "tokenizer.json", kClipModel + R"({"a": 0, "b": 1}, "merges": [["a", "b"]]}})"},
    {"clip_l_json", "tokenizer.json", R"({"model": {"vocab": {}, "merges": []}})"},
    {"clip_l_json", "tokenizer.json",
     R"({"model": {"vocab": {}, "merges": []}, "added_tokens": [{"content": "a"}]})"},
    {"clip_l_json", "tokenizer.json",
     R"({"model": {"vocab": {}, "merges": []}, "added_tokens": [{"id": 1}]})"},
    {"t5", "spiece.model", ""},
    {"t5", "spiece.model", kLfsPointer},
    {"t5", "spiece.model", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"},
    {"t5", "spiece.model", std::string("\x0A\x7F", 2)},  // a piece of 127 bytes that are not there
    {"t5", "spiece.model", std::string("\x0B", 1)},      // a group: no protobuf message has had one for long
    {"t5", "spiece.model", std::string("\x0A\x03\x0A\x01\xFF", 5)},  // a piece that is not UTF-8
    {"t5", "spiece.model", std::string("\x12\x02\x18\x02", 4), ErrorCode::unsupported},  // model_type: BPE
    {"t5_json", "tokenizer.json", kT5Model + R"({"a": 0}}})"},
    {"t5_json", "tokenizer.json", kT5Model + R"([["a"]]}})"},
    {"t5_json", "tokenizer.json", kT5Model + R"([["a", "b"]]}})"},
    {"t5_json", "tokenizer.json", kT5Model + R"([["<pad>", 0]]}})"},
    {"t5_json", "tokenizer.json",
     kT5Model + kT5Vocabulary + R"(}, "normalizer": {"precompiled_charsmap": "?"}})"},
    {"t5_json", "tokenizer.json",
     kT5Model + kT5Vocabulary + R"(}, "normalizer": {"precompiled_charsmap": "AAAA"}})"},
    {"t5_json", "tokenizer.json", kT5Model + kT5Vocabulary + R"(}, "normalizer": {"normalizers": 5}})"},
    {"t5_json", "tokenizer.json", kClipModel + R"({"a": 0}, "merges": []}})", ErrorCode::unsupported},
};

TEST(DamagedFolder, GivesAnErrorThatNamesTheFile) {
  for (const Damage& damage : kDamages) {
    const TemporaryFolder folder;
    std::filesystem::copy(kData / damage.folder, folder.path());
    ASSERT_TRUE(load(folder.path(), damage.folder));
    write_file(folder.path() / damage.file, damage.content);
    const auto tokenizer = load(folder.path(), damage.folder);
    ASSERT_FALSE(tokenizer) << damage.file << ": " << damage.content.substr(0, 200);
    EXPECT_EQ(tokenizer.error().code, damage.code) << tokenizer.error().message;
    EXPECT_THAT(tokenizer.error().message, HasSubstr(damage.file)) << damage.content.substr(0, 200);
    EXPECT_THAT(tokenizer.error().field, HasSubstr(damage.file));
  }
}

TEST(DamagedFolder, SaysWhatIsMissing) {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& kind) {
    const auto tokenizer = load(folder.path(), kind);
    EXPECT_FALSE(tokenizer);
    EXPECT_EQ(tokenizer.error().code, ErrorCode::not_found);
    return tokenizer.error().message;
  };
  EXPECT_THAT(message("clip"), HasSubstr("neither tokenizer.json nor vocab.json and merges.txt"));
  EXPECT_THAT(message("t5"), HasSubstr("neither tokenizer.json nor spiece.model"));
  write_file(folder.path() / "vocab.json", "{}");
  EXPECT_THAT(message("clip"), HasSubstr("merges.txt"));
  EXPECT_EQ(load(folder.path() / "nowhere", "t5").error().code, ErrorCode::not_found);
}

// A download that broke off. (Of merges.txt nothing tells a whole number of lines from the whole file.)
TEST(DamagedFolder, NoticesFilesCutOffAnywhere) {
  for (const char* name : {"clip_l/vocab.json", "clip_l/merges.txt", "clip_l_json/tokenizer.json",
                           "clip_l/special_tokens_map.json", "t5/spiece.model", "t5_json/tokenizer.json"}) {
    const std::filesystem::path original = kData / name;
    const std::string content = read_file(original);
    const TemporaryFolder folder;
    std::filesystem::copy(original.parent_path(), folder.path());
    for (std::size_t step = 0; step < 40; ++step) {
      write_file(folder.path() / original.filename(), content.substr(0, content.size() * step / 40));
      const auto tokenizer = load(folder.path(), original.parent_path().filename());
      const bool whole_line_left = original.extension() == ".txt";
      EXPECT_TRUE(!tokenizer || whole_line_left) << name << " cut at " << step << "/40";
    }
  }
}

// Single bytes flipped: in spiece.model they hit lengths, the charsmap's trie and its offsets.
TEST(DamagedFolder, SurvivesChangedBytes) {
  for (const char* name : {"clip_l/vocab.json", "t5/spiece.model", "t5_json/tokenizer.json"}) {
    const std::filesystem::path original = kData / name;
    const std::string content = read_file(original);
    const TemporaryFolder folder;
    std::filesystem::copy(original.parent_path(), folder.path());
    for (std::size_t step = 0; step < 150; ++step) {
      std::string changed = content;
      changed[content.size() - 1 - content.size() * step / 150] ^= static_cast<char>(1 << step % 8);
      write_file(folder.path() / original.filename(), changed);
      const auto tokenizer = load(folder.path(), original.parent_path().filename());
      if (!tokenizer) continue;
      const Encoding encoding =
          (*tokenizer)->encode("caf\u00E9 e\u0301 \u017F \uFB01 \uFF44\u0313 <\u2460> \x01\t", 20);
      EXPECT_EQ(encoding.ids.size(), 20u);
    }
  }
}

}  // namespace
}  // namespace diffused::tokenizers
