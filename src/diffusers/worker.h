// A model in Diffusers itself: the Python process that has it, from its start to its end.
//
// Life. One thread of the worker's own starts the process, has it load the folder, and stays with it: what it
// prints goes to the log under the model's name. When it ends by itself it is started again, after a time
// that doubles; after kStrikesMax times without a picture in between it stays away. The thread lives as long
// as the process, which the kernel kills with it.
//
// Questions. Each has one answer (python/diffused_worker/service.py). A process that does not answer in time
// is killed, which is an end like any other.
#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/result.h"
#include "diffusers/channel.h"
#include "diffusers/child_process.h"
#include "diffusers/description.h"

namespace diffused::diffusers {

struct WorkerOptions {
  std::string python;             // the interpreter
  std::filesystem::path program;  // the folder diffused_worker
  std::filesystem::path folder;   // the model
  std::string name;               // for the log
  std::string dtype = "fp32", device = "cpu", variant;
  int threads = 0;                             // of the processor; 0: as torch has it
  std::chrono::seconds load_max{1800};         // that loading may take
  std::chrono::seconds unit_max{900};          // that one unit may take
  std::chrono::milliseconds rest_min{500};     // before the first new start
  std::chrono::milliseconds rest_max{60'000};  // the longest
};

// Any thread unless said otherwise.
class Worker {
 public:
  static constexpr int kStrikesMax = 3;

  // Starts it and waits until the model is loaded. Errors: not_found (no such interpreter, no such folder),
  // unsupported, data_loss, out_of_memory (what the worker refuses), unavailable (it ended), deadline.
  static Result<std::unique_ptr<Worker>> start(WorkerOptions options);
  // Ends the process and waits until it is gone.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  const Description& description() const { return description_; }

  // How often it has been started: what a process knows, the next one does not.
  std::uint64_t generation() const;

  // Error: unavailable, with a sentence that says whether it comes back.
  Result<void> check_ready() const;

  // The answer to a question of that generation. One thread at a time: the device thread. Errors: the
  // worker's own, with their field; unavailable, when it ended or is of another generation. While it is
  // waited for, the thread gives way (base/give_way.h), and the process stands still then.
  Result<Message> ask(std::uint64_t generation, const boost::json::object& question,
                      std::initializer_list<Channel::Bytes> blob = {});

  // A picture was finished: all is well.
  void forgive();

 private:
  enum class State { starting, ready, resting, out };

  explicit Worker(WorkerOptions options) : options_(std::move(options)) {}
  void run();
  void live_once();
  Result<std::shared_ptr<ChildProcess>> spawn();
  Result<Description> load(Channel& channel);
  void tell_loaded(Result<Description> loaded);
  void hear(int output) const;
  Result<Message> converse(ChildProcess& child, const boost::json::object& question,
                           std::initializer_list<Channel::Bytes> blob) const;
  bool rest();
  Error gone() const;

  const WorkerOptions options_;
  Description description_{};  // set before start() returns, constant after
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  State state_ = State::starting;
  std::shared_ptr<ChildProcess> child_;
  std::uint64_t generation_ = 0;
  int strikes_ = 0;
  bool stopping_ = false, ever_loaded_ = false;
  std::optional<Result<Description>> first_;  // how the first start went
  std::thread thread_;
};

}  // namespace diffused::diffusers
