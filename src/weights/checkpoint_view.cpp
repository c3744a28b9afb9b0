#include "base/check.h"
#include "weights/checkpoint.h"

namespace diffused::weights {
namespace {

// The sizes of a tensor that is handed out in this form.
std::vector<std::int64_t> shape_in_form(Form form, std::vector<std::int64_t> shape) {
  switch (form) {
    case Form::matrix:
      shape.resize(2);
      break;
    case Form::transposed:
      std::swap(shape.front(), shape.back());
      break;
    case Form::unit_matrix:
      shape = {shape.back(), shape.back()};
      break;
    case Form::as_is:
    case Form::halves_swapped:
      break;
  }
  return shape;
}

}  // namespace

std::shared_ptr<Checkpoint> Checkpoint::view(const std::vector<Piece>& pieces) const {
  std::shared_ptr<Checkpoint> view(new Checkpoint(folder_));
  for (const Piece& piece : pieces) {
    Place place = places_.at(piece.source);
    Entry& entry = place.entry;
    if (piece.rows >= 0) {
      // Rows of a tensor lie together: a piece of a file.
      const std::int64_t all = entry.shape.at(0);
      CHECK(piece.first_row >= 0 && piece.first_row + piece.rows <= all);
      const std::uint64_t row_bytes = all == 0 ? 0 : (entry.end - entry.begin) / all;
      entry.begin += piece.first_row * row_bytes;
      entry.end = entry.begin + piece.rows * row_bytes;
      entry.shape[0] = piece.rows;
      if (place.scale.defined() && place.scale.numel() > 1)
        place.scale = place.scale.narrow(0, piece.first_row, piece.rows);
    }
    place.form = piece.form;
    entry.shape = shape_in_form(piece.form, std::move(entry.shape));
    view->places_.insert_or_assign(piece.name, std::move(place));
  }
  return view;
}

}  // namespace diffused::weights
