// One component of a file that holds several, under the names that its network asks for.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "weights/checkpoint.h"

namespace diffused::weights {

// Collects renamings and makes a view of them. All names are without the prefix; a tensor that the file does
// not have is left out, for the network to miss. What throws is LoadError, of a tensor that cannot be what
// its name says. `taken` gets the file's names of all that was renamed or left out on purpose.
class Renaming {
 public:
  Renaming(std::shared_ptr<const Checkpoint> file, std::string prefix, std::set<std::string>& taken)
      : file_(std::move(file)), prefix_(std::move(prefix)), taken_(&taken) {}

  bool has(const std::string& name) const { return file_->contains(prefix_ + name); }
  bool has_under(const std::string& prefix) const { return file_->contains_under(prefix_ + prefix); }
  // How many lists "NAME.0.", "NAME.1." … there are.
  int count(const std::string& list) const;
  // The size of a tensor of `rank` sizes along one of them. Throws when there is no such tensor.
  std::int64_t size(const std::string& name, std::size_t rank, std::size_t along) const;
  // How many sizes a tensor has; 0 without it.
  std::size_t rank(const std::string& name) const;

  void tensor(const std::string& from, const std::string& to, Form form = Form::as_is);
  // Equal shares of the rows, one for each name; or as many rows as `rows` says. Throws when there are not so
  // many.
  void split(const std::string& from, const std::vector<std::string>& to,
             std::vector<std::int64_t> rows = {});
  // The two above for a layer's `weight` and `bias`.
  void layer(const std::string& from, const std::string& to, Form form = Form::as_is);
  void split_layer(const std::string& from, const std::vector<std::string>& to,
                   const std::vector<std::int64_t>& rows = {});
  // Every tensor of this beginning, with another beginning.
  void all_under(const std::string& from, const std::string& to);
  // Nothing of this beginning is wanted.
  void leave_out(const std::string& prefix);

  std::shared_ptr<Checkpoint> view() const { return file_->view(pieces_); }

 private:
  const std::vector<std::int64_t>* take(const std::string& name);
  [[noreturn]] void refuse(const std::string& name, std::string_view why) const;

  std::shared_ptr<const Checkpoint> file_;
  std::string prefix_;
  std::set<std::string>* taken_;
  std::vector<Piece> pieces_;
};

}  // namespace diffused::weights
