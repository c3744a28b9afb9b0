// `diffused models`: the models there are to serve, in the Hugging Face cache and in folders.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>

#include "app/commands.h"
#include "app/model_index.h"
#include "hub/cache.h"
#include "hub/environment.h"

namespace diffused::app {
namespace {

namespace fs = std::filesystem;

struct Listed {
  std::string name;
  fs::path folder;
};

// Bytes of the folder's files, each once: in the cache two names may lead to the same one.
std::uint64_t size_on_disk(const fs::path& folder) {
  std::uint64_t bytes = 0;
  std::set<fs::path> seen;
  std::error_code ec;
  for (fs::recursive_directory_iterator entry(folder, ec), end; !ec && entry != end; entry.increment(ec)) {
    std::error_code unreadable;
    const fs::path file = fs::canonical(entry->path(), unreadable);
    if (unreadable || !fs::is_regular_file(file, unreadable) || !seen.insert(file).second) continue;
    const std::uint64_t size = fs::file_size(file, unreadable);
    if (!unreadable) bytes += size;
  }
  return bytes;
}

void add_folder(const fs::path& folder, std::vector<Listed>& found) {
  std::error_code ec;
  if (fs::exists(folder / "model_index.json", ec)) found.push_back({folder.filename().string(), folder});
}

// A model's own folder, or one that holds such.
Result<void> add_folders(const std::string& text, std::vector<Listed>& found) {
  std::error_code ec;
  const fs::path folder = fs::canonical(text, ec);
  if (ec || !fs::is_directory(folder, ec))
    return fail(ErrorCode::not_found, fmt::format("{}: no such folder", text));
  add_folder(folder, found);
  std::vector<fs::path> inside;
  for (const auto& entry : fs::directory_iterator(folder, ec)) inside.push_back(entry.path());
  std::ranges::sort(inside);
  for (const fs::path& path : inside) add_folder(path, found);
  return {};
}

Result<void> list(const std::vector<std::string>& folders) {
  std::vector<Listed> found;
  for (const std::string& folder : folders) {
    TRY_VOID(add_folders(folder, found));
  }
  for (const hub::Snapshot& snapshot : hub::list_snapshots(hub::cache_folder(process_variables()))) {
    const hub::Repo& repo = snapshot.repo;
    std::error_code ec;
    if (fs::exists(snapshot.folder / "model_index.json", ec))
      found.push_back(
          {repo.revision == "main" ? repo.id() : repo.id() + "@" + repo.revision, snapshot.folder});
  }
  std::size_t width = 5;
  for (const Listed& listed : found) width = std::max(width, listed.name.size());
  fmt::print("{:<{}}  {:<34}  {:>10}  {}\n", "model", width, "class", "on disk", "where");
  for (const Listed& listed : found) {
    const auto index = read_model_index(listed.folder);
    fmt::print("{:<{}}  {:<34}  {:>7.1f} MB  {}\n", listed.name, width,
               index ? index->class_name : "(damaged)",
               static_cast<double>(size_on_disk(listed.folder)) / 1e6, listed.folder.string());
  }
  return {};
}

}  // namespace

void add_models(CLI::App& program, int& exit_status) {
  const auto folders = std::make_shared<std::vector<std::string>>();
  CLI::App* command = program.add_subcommand(
      "models", "List the models there are: in the Hugging Face cache, and in folders");
  command->add_option("FOLDER", *folders, "model folders, or folders that hold such");
  command->callback([folders, &exit_status] {
    if (const auto done = list(*folders); !done) exit_status = report(done.error());
  });
}

}  // namespace diffused::app
