#include "weights/renaming.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "weights/scope.h"

namespace diffused::weights {
namespace {

constexpr const char* kLeaves[] = {".weight", ".bias"};

bool takes(Form form, const std::vector<std::int64_t>& shape) {
  switch (form) {
    case Form::matrix:
      return shape.size() >= 2 &&
             std::all_of(shape.begin() + 2, shape.end(), [](std::int64_t size) { return size == 1; });
    case Form::transposed:
      return shape.size() == 2;
    case Form::halves_swapped:
      return !shape.empty() && shape[0] % 2 == 0;
    case Form::unit_matrix:
      return !shape.empty();
    case Form::as_is:
      break;
  }
  return true;
}

}  // namespace

void Renaming::refuse(const std::string& name, std::string_view why) const {
  const std::string path = file_->folder().string();
  throw LoadError(
      Error{ErrorCode::data_loss, fmt::format("{}: tensor '{}{}' {}", path, prefix_, name, why), path, {}});
}

int Renaming::count(const std::string& list) const {
  int lists = 0;
  while (has_under(fmt::format("{}.{}.", list, lists))) ++lists;
  return lists;
}

std::int64_t Renaming::size(const std::string& name, std::size_t rank, std::size_t along) const {
  const auto* const shape = file_->shape(prefix_ + name);
  if (shape == nullptr) refuse(name, "is missing");
  if (shape->size() != rank)
    refuse(name, fmt::format("has shape [{}], but {} sizes are expected", fmt::join(*shape, ", "), rank));
  return shape->at(along);
}

std::size_t Renaming::rank(const std::string& name) const {
  const auto* const shape = file_->shape(prefix_ + name);
  return shape == nullptr ? 0 : shape->size();
}

const std::vector<std::int64_t>* Renaming::take(const std::string& name) {
  const auto* const shape = file_->shape(prefix_ + name);
  if (shape != nullptr) taken_->insert(prefix_ + name);
  return shape;
}

void Renaming::tensor(const std::string& from, const std::string& to, Form form) {
  const auto* const shape = take(from);
  if (shape == nullptr) return;
  // A bias has no second size to lose.
  if (form == Form::matrix && shape->size() == 1) form = Form::as_is;
  if (!takes(form, *shape)) refuse(from, fmt::format("cannot have shape [{}]", fmt::join(*shape, ", ")));
  pieces_.push_back({to, prefix_ + from, form, 0, -1});
}

void Renaming::split(const std::string& from, const std::vector<std::string>& to,
                     std::vector<std::int64_t> rows) {
  const auto* const shape = take(from);
  if (shape == nullptr) return;
  const std::int64_t all = shape->empty() ? 0 : shape->front();
  const auto parts = static_cast<std::int64_t>(to.size());
  if (rows.empty()) rows.assign(to.size(), all / parts);
  const bool whole = std::accumulate(rows.begin(), rows.end(), std::int64_t{0}) == all;
  if (all == 0 || !whole || std::ranges::min(rows) < 0) {
    refuse(from, fmt::format("has shape [{}], which does not split into {}", fmt::join(*shape, ", "), parts));
  }
  std::int64_t first = 0;
  for (std::size_t i = 0; i < to.size(); ++i) {
    pieces_.push_back({to[i], prefix_ + from, Form::as_is, first, rows[i]});
    first += rows[i];
  }
}

void Renaming::layer(const std::string& from, const std::string& to, Form form) {
  for (const char* const leaf : kLeaves) tensor(from + leaf, to + leaf, form);
}

void Renaming::split_layer(const std::string& from, const std::vector<std::string>& to,
                           const std::vector<std::int64_t>& rows) {
  for (const char* const leaf : kLeaves) {
    std::vector<std::string> names = to;
    for (std::string& name : names) name += leaf;
    split(from + leaf, names, rows);
  }
}

void Renaming::all_under(const std::string& from, const std::string& to) {
  for (const TensorInfo& info : file_->list()) {
    if (info.name.starts_with(prefix_ + from))
      tensor(info.name.substr(prefix_.size()), to + info.name.substr(prefix_.size() + from.size()));
  }
}

void Renaming::leave_out(const std::string& prefix) {
  for (const TensorInfo& info : file_->list()) {
    if (info.name.starts_with(prefix_ + prefix)) taken_->insert(info.name);
  }
}

}  // namespace diffused::weights
