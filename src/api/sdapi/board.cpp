#include "api/sdapi/board.h"

#include <algorithm>

namespace diffused::api {

constexpr std::size_t kChoicesMax = 1000;
constexpr std::size_t kAllImages = std::size_t(-1);

SdBoard::Run::Run(SdBoard& board, std::string user, std::size_t images, std::size_t batch,
                  std::int64_t started)
    : board_(board), user_(std::move(user)), batch_(batch), started_(started), rows_(images) {
  const std::lock_guard lock(board_.mutex_);
  board_.runs_.push_back(this);
}

SdBoard::Run::~Run() {
  const std::lock_guard lock(board_.mutex_);
  std::erase(board_.runs_, this);
}

void SdBoard::Run::set_finish(std::function<void(std::size_t images)> finish) {
  const std::lock_guard lock(board_.mutex_);
  finish_ = std::move(finish);
  if (interrupted_) finish_(kAllImages);
}

void SdBoard::Run::take(const Event& event, std::size_t first, std::size_t stride) {
  const std::lock_guard lock(board_.mutex_);
  if (const auto* step = std::get_if<StepDone>(&event))
    rows_.at(first + step->image_index * stride) = {step->step, step->steps, false};
  if (const auto* preview = std::get_if<PreviewReady>(&event)) preview_ = preview->image;
  if (const auto* ready = std::get_if<ImageReady>(&event))
    rows_.at(first + ready->image_index * stride).done = true;
}

void SdBoard::Run::skip() {
  if (interrupted_) return;
  std::size_t row = skipped_;
  while (row < rows_.size() && rows_[row].done) ++row;
  const std::size_t end = std::min((row / batch_ + 1) * batch_, rows_.size());
  const auto is_begun = [](const Row& each) { return each.step > 0; };
  // Before its first step there is nothing to be skipped.
  if (!finish_ || std::none_of(rows_.begin() + static_cast<std::ptrdiff_t>(std::min(row, end)),
                               rows_.begin() + static_cast<std::ptrdiff_t>(end), is_begun))
    return;
  skipped_ = end;
  finish_(end);
}

bool SdBoard::Run::skipped(std::size_t image) const {
  const std::lock_guard lock(board_.mutex_);
  return image < skipped_;
}

bool SdBoard::Run::interrupted() const {
  const std::lock_guard lock(board_.mutex_);
  return interrupted_;
}

SdProgress SdBoard::Run::progress() const {
  SdProgress progress;
  progress.started = started_;
  progress.interrupted = interrupted_;
  progress.preview = preview_;
  for (const Row& row : rows_) {
    const double part = row.done ? 1 : row.steps > 0 ? static_cast<double>(row.step) / row.steps : 0;
    progress.progress += part / static_cast<double>(rows_.size());
    if (row.done) ++progress.images_done;
    if (!row.done && row.step >= progress.step) {
      progress.step = row.step;
      progress.steps = row.steps;
    }
  }
  return progress;
}

SdProgress SdBoard::progress(const std::string& user) const {
  const std::lock_guard lock(mutex_);
  const auto is_theirs = [&](const Run* run) { return run->user_ == user; };
  const auto oldest = std::ranges::find_if(runs_, is_theirs);
  if (oldest == runs_.end()) return {};
  SdProgress progress = (*oldest)->progress();
  progress.jobs = static_cast<std::size_t>(std::ranges::count_if(runs_, is_theirs));
  return progress;
}

void SdBoard::interrupt(const std::string& user) {
  const std::lock_guard lock(mutex_);
  for (Run* run : runs_) {
    if (run->user_ != user || run->interrupted_) continue;
    run->interrupted_ = true;
    if (run->finish_) run->finish_(kAllImages);
  }
}

void SdBoard::skip(const std::string& user) {
  const std::lock_guard lock(mutex_);
  const auto oldest = std::ranges::find_if(runs_, [&](const Run* run) { return run->user_ == user; });
  if (oldest != runs_.end()) (*oldest)->skip();
}

SdOptions SdBoard::options(const std::string& user) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [chooser, options] : choices_)
    if (chooser == user) return options;
  return {};
}

void SdBoard::choose(const std::string& user, SdOptions options) {
  const std::lock_guard lock(mutex_);
  std::erase_if(choices_, [&](const auto& choice) { return choice.first == user; });
  choices_.emplace_front(user, std::move(options));
  if (choices_.size() > kChoicesMax) choices_.pop_back();
}

}  // namespace diffused::api
