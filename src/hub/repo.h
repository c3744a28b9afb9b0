// Names on a Hugging Face hub: of repositories, revisions and files. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace diffused::hub {

// A model repository at a branch, tag or commit.
struct Repo {
  std::string owner, name;
  std::string revision = "main";

  std::string id() const { return owner + "/" + name; }
};

// "owner/name" or "owner/name@revision". Error: invalid_argument, for what the hub would not name so either.
Result<Repo> parse_repo(std::string_view text);

// 40 hexadecimal digits.
bool is_commit(std::string_view text);

// What a hub lists must be a path within the repository: data_loss for absolute ones, "..", control
// characters and the like, which nothing honest lists.
Result<void> check_listed(std::string_view path);

// What is downloaded must consist of letters, digits and "._-" between slashes: data_loss otherwise.
Result<void> check_wanted(std::string_view path);

}  // namespace diffused::hub
