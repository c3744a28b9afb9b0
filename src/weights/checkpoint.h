// The weights of one component folder (transformer/, vae/, text_encoder/ …), opened and checked, not yet
// read.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "weights/fingerprint.h"
#include "weights/header.h"
#include "weights/mapped_file.h"

namespace diffused::weights {

struct CheckpointOptions {
  std::string stem = "diffusion_pytorch_model";  // transformers' own components say "model"
  std::string variant;                           // such as "fp16"; empty: the plain files
};

// A tensor as the file has it.
struct TensorInfo {
  std::string name;
  std::string dtype;  // "F32", "BF16", …
  std::vector<std::int64_t> shape;
  std::uint64_t bytes = 0;
  std::string file;  // base name
};

// How a tensor of a view is made of the one in the file.
enum class Form {
  as_is,
  matrix,          // a convolution of one pixel, [out, in, 1, 1], as the matrix [out, in]
  transposed,      // a matrix with its sides exchanged
  halves_swapped,  // the second half of the rows before the first
  unit_matrix,  // [n, n] with ones on the diagonal, n being the tensor's last size; its values are not read
};

// A tensor of a view: rows of a tensor of the file, under another name.
struct Piece {
  std::string name, source;
  Form form = Form::as_is;
  std::int64_t first_row = 0;
  std::int64_t rows = -1;  // -1: all
};

// What has been handed out by tensor(), each tensor counted once, in the dtype asked for.
struct CheckpointUse {
  std::uint64_t parameters = 0;
  std::uint64_t bytes = 0;
};

// Used while loading, by one thread. Tensors handed out outlive it.
class Checkpoint {
 public:
  // Finds, maps and checks every file. Errors are one line that names folder and file: not_found,
  // unsupported, data_loss; the field is the path. Never throws for what is in the files.
  static Result<std::shared_ptr<Checkpoint>> open(const std::filesystem::path& folder,
                                                  CheckpointOptions options = {});

  // The same of one file, which holds whatever it holds.
  static Result<std::shared_ptr<Checkpoint>> open_file(const std::filesystem::path& path);

  // These pieces, each of a tensor that is here and has these rows, as a checkpoint of its own. Nothing is
  // read.
  std::shared_ptr<Checkpoint> view(const std::vector<Piece>& pieces) const;

  // The whole tensor, converted to dtype and device; it then counts as used. Weights of 8 bits are multiplied
  // by the scale that stands beside them. When the file has it so already, on the CPU, the result is the
  // file's own memory (never write to it). Throws LoadError when it is missing, its shape is not `shape` (a
  // size of -1 matches any), or the file has changed its length since it was opened.
  at::Tensor tensor(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype, at::Device device);

  // Whether the tensor is there; does not count as use.
  bool contains(const std::string& name) const;

  // Whether any tensor's name begins like this.
  bool contains_under(const std::string& prefix) const;

  // The sizes of a tensor; null without it.
  const std::vector<std::int64_t>* shape(const std::string& name) const;

  // Every tensor, sorted by name.
  std::vector<TensorInfo> list() const;

  // What tells it from other checkpoints.
  Fingerprint fingerprint() const;

  // The names never asked for, sorted, without those left out, the stray buffers that old exporters left
  // behind (position_ids) and the second copy of a shared embedding.
  std::vector<std::string> unused() const;

  // To be called once the network is built. Throws LoadError when unused() holds one of a list that the
  // network has used others of ("blocks.7.norm.weight" beside "blocks.0.norm.weight"): then it is not the
  // network that the config describes. Other tensors are another part's; the log says that they are left out.
  // Nothing is said of those of these prefixes, which the network leaves out on purpose.
  void require_all_used(std::initializer_list<std::string_view> left_out = {}) const;

  // Says that the network does without the tensors under this prefix, "layers.35.", of which unused() is then
  // silent.
  void leave_out(const std::string& prefix);

  // What the files say of themselves beside their tensors.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  CheckpointUse use() const { return use_; }

  // Layers, such as "mid_block.attentions.0.proj_in", that the network built of this can run with other
  // weights than those here.
  void add_changeable_layer(std::string layer) { changeable_layers_.insert(std::move(layer)); }
  const std::set<std::string>& changeable_layers() const { return changeable_layers_; }

  const std::filesystem::path& folder() const { return folder_; }

 private:
  struct Place {
    std::shared_ptr<const MappedFile> file;
    Entry entry;       // its shape is that of the tensor handed out
    at::Tensor scale;  // float32, [1] or one for each row; undefined: none
    Form form = Form::as_is;
  };

  explicit Checkpoint(std::filesystem::path folder) : folder_(std::move(folder)) {}
  Result<void> add_file(const std::filesystem::path& path);
  Result<void> attach_scales();
  Result<void> refuse_packed() const;
  at::Tensor stored(const Place& place, at::ScalarType dtype, at::Device device) const;
  const Place& find(const std::string& name) const;

  std::filesystem::path folder_;
  std::map<std::string, Place> places_;
  std::map<std::string, std::string> metadata_;
  std::set<std::string> used_;
  std::set<std::string> left_out_;
  CheckpointUse use_;
  std::set<std::string> changeable_layers_;
};

}  // namespace diffused::weights
