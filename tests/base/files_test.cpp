#include "base/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "support/files.h"

namespace diffused {
namespace {

TEST(ReadWholeFile, GivesTheBytes) {
  TemporaryFolder folder;
  write_file(folder.path() / "keys", std::string("a\0b\n", 4));
  EXPECT_EQ(read_whole_file(folder.path() / "keys", 4).value(), std::string("a\0b\n", 4));
  write_file(folder.path() / "keys", "");
  EXPECT_EQ(read_whole_file(folder.path() / "keys", 4).value(), "");
}

// A folder makes a stream throw, and a pipe without a writer holds up whoever opens it.
TEST(ReadWholeFile, RefusesWhatIsNoFileWithoutWaiting) {
  TemporaryFolder folder;
  const auto fifo = folder.path() / "fifo", absent = folder.path() / "absent",
             large = folder.path() / "large";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  write_file(large, "12345");
  const auto code_of = [](const std::filesystem::path& file) {
    const auto read = read_whole_file(file, 4);
    EXPECT_FALSE(read);
    EXPECT_EQ(read.error().message.find(file.string()), 0u) << read.error().message;
    return read.error().code;
  };
  EXPECT_EQ(code_of(folder.path()), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(fifo), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of("/dev/null"), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(absent), ErrorCode::not_found);
  EXPECT_EQ(code_of(large), ErrorCode::payload_too_large);
}

}  // namespace
}  // namespace diffused
