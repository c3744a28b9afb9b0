// START HERE for the room `weights`: a checkpoint's tensors under their own names, read by mmap from
// safetensors files. Pickle is never read. A network takes a Scope in its constructor and asks for each
// tensor with its expected shape.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weights/load_error.h"

namespace diffused::weights {

class Checkpoint;

// "The tensors under this prefix", in one dtype on one device. A small value; the Checkpoint outlives it
// (shared). Used while loading, by one thread.
class Scope {
 public:
  // component: how the model's folder calls the network, "unet"; empty where nobody asks.
  Scope(std::shared_ptr<Checkpoint> checkpoint, std::string prefix, at::ScalarType dtype, at::Device device,
        std::string component = {})
      : checkpoint_(std::move(checkpoint)),
        prefix_(std::move(prefix)),
        component_(std::move(component)),
        dtype_(dtype),
        device_(device) {}

  // The scope one name deeper: scope / "attn" / "to_q"; a number makes a list index: scope / "blocks" / 3.
  Scope operator/(std::string_view name) const;
  Scope operator/(int index) const;

  // The tensor `name` under this prefix, converted to the scope's dtype and device; it then counts as used.
  // Throws LoadError when it is missing or its shape is not `shape` (a size of -1 matches any).
  at::Tensor tensor(std::string_view name, at::IntArrayRef shape) const;

  // Whether the tensor exists under this prefix; does not count as use.
  bool contains(std::string_view name) const;

  // Whether any tensor exists under this prefix; does not count as use.
  bool empty() const;

  // Says that the network does without the tensors under this prefix.
  void leave_out() const;

  // Says that the layer made of the tensors here can be changed under the name that is returned: component
  // and prefix, "unet.mid_block.attentions.0.proj_in".
  std::string changeable_layer() const;

  // The same names in another dtype (for the few tensors that stay in fp32).
  Scope with_dtype(at::ScalarType dtype) const;

  at::ScalarType dtype() const { return dtype_; }
  at::Device device() const { return device_; }
  const std::string& prefix() const { return prefix_; }

 private:
  std::shared_ptr<Checkpoint> checkpoint_;
  std::string prefix_;  // "transformer_blocks.3." or empty
  std::string component_;
  at::ScalarType dtype_;
  at::Device device_;
};

}  // namespace diffused::weights
