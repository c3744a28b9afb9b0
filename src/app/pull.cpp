// `diffused pull OWNER/NAME`: downloads a model of a Hugging Face hub into the cache.
#include "hub/pull.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "app/commands.h"

namespace diffused::app {
namespace {

struct PullOptions {
  std::string repo, variant;
  bool quiet = false;
};

// One line that is drawn over and over on a terminal, and a line for each file elsewhere.
class Bar {
 public:
  explicit Bar(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO)) {}
  ~Bar() { end(); }

  void show(const hub::PullProgress& progress) {
    if (quiet_ || progress.files == 0) return;
    if (!terminal_) {
      if (progress.file != file_) fmt::print(stderr, "{}\n", progress.file);
      file_ = progress.file;
      return;
    }
    constexpr int kWidth = 30, kNameWidth = 40;
    const double share = progress.bytes == 0
                             ? 1.0
                             : static_cast<double>(progress.bytes_done) / static_cast<double>(progress.bytes);
    const int thousandths = static_cast<int>(share * 1000);
    if (progress.file == file_ && thousandths == thousandths_) return;
    file_ = progress.file;
    thousandths_ = thousandths;
    const std::string name = file_.size() > kNameWidth ? file_.substr(file_.size() - kNameWidth) : file_;
    fmt::print(stderr, "\r{:>5.1f}% [{:-<{}}] {}/{} {:<{}}", share * 100,
               std::string(static_cast<std::size_t>(share * kWidth), '#'), kWidth,
               std::min(progress.files_done + 1, progress.files), progress.files, name, kNameWidth);
    std::fflush(stderr);
    drawn_ = true;
  }
  void end() {
    if (drawn_) fmt::print(stderr, "\n");
    drawn_ = false;
  }

 private:
  const bool quiet_, terminal_;
  std::string file_;
  int thousandths_ = -1;
  bool drawn_ = false;
};

Result<void> run(const PullOptions& options) {
  TRY(const hub::Repo repo, hub::parse_repo(options.repo));
  TRY(const hub::Environment environment, hub::read_environment(process_variables()));
  Bar bar(options.quiet);
  hub::PullOptions pull;
  pull.variant = options.variant;
  pull.progress = [&bar](const hub::PullProgress& progress) { bar.show(progress); };
  const auto pulled = hub::pull(repo, environment, pull);
  bar.end();
  if (!pulled) return tl::unexpected(pulled.error());
  if (!options.quiet)
    fmt::print(stderr, "{} files, {:.1f} MB, commit {}\n", pulled->files,
               static_cast<double>(pulled->bytes) / 1e6, pulled->commit);
  fmt::print("{}\n", pulled->folder.string());
  return {};
}

}  // namespace

void add_pull(CLI::App& program, int& exit_status) {
  const auto options = std::make_shared<PullOptions>();
  CLI::App* command = program.add_subcommand("pull", "Download a model of a Hugging Face hub into the cache");
  command->add_option("MODEL", options->repo, "OWNER/NAME or OWNER/NAME@REVISION")->required();
  command->add_option("--variant", options->variant,
                      "the weight files' variant, such as fp16, where there is one");
  command->add_flag("--quiet", options->quiet, "no progress");
  command->callback([options, &exit_status] {
    if (const auto done = run(*options); !done) exit_status = report(done.error());
  });
}

}  // namespace diffused::app
