#include "api/sdapi/board.h"

#include <algorithm>

namespace diffused::api {

constexpr std::size_t kChoicesMax = 1000;

SdBoard::Run::Run(SdBoard& board, std::string user, std::size_t images, std::int64_t started)
    : board_(board), user_(std::move(user)), started_(started), rows_(images) {
  const std::lock_guard lock(board_.mutex_);
  board_.runs_.push_back(this);
}

SdBoard::Run::~Run() {
  const std::lock_guard lock(board_.mutex_);
  std::erase(board_.runs_, this);
}

void SdBoard::Run::set_cancel(std::function<void()> cancel) {
  const std::lock_guard lock(board_.mutex_);
  cancel_ = std::move(cancel);
  if (interrupted_) cancel_();
}

void SdBoard::Run::take(const Event& event, std::size_t first_row) {
  const std::lock_guard lock(board_.mutex_);
  if (const auto* step = std::get_if<StepDone>(&event))
    rows_.at(first_row + step->image_index) = {step->step, step->steps, false};
  if (const auto* preview = std::get_if<PreviewReady>(&event)) preview_ = preview->image;
  if (const auto* ready = std::get_if<ImageReady>(&event))
    rows_.at(first_row + ready->image_index).done = true;
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
    if (run->cancel_) run->cancel_();
  }
}

std::string SdBoard::checkpoint(const std::string& user) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [chooser, checkpoint] : choices_)
    if (chooser == user) return checkpoint;
  return {};
}

void SdBoard::choose(const std::string& user, std::string checkpoint) {
  const std::lock_guard lock(mutex_);
  std::erase_if(choices_, [&](const auto& choice) { return choice.first == user; });
  choices_.emplace_front(user, std::move(checkpoint));
  if (choices_.size() > kChoicesMax) choices_.pop_back();
}

}  // namespace diffused::api
