#include "weights/scope.h"

#include "weights/checkpoint.h"

namespace diffused::weights {

Scope Scope::operator/(std::string_view name) const {
  return {checkpoint_, prefix_ + std::string(name) + ".", dtype_, device_, component_};
}

Scope Scope::operator/(int index) const { return *this / std::to_string(index); }

at::Tensor Scope::tensor(std::string_view name, at::IntArrayRef shape) const {
  return checkpoint_->tensor(prefix_ + std::string(name), shape, dtype_, device_);
}

bool Scope::contains(std::string_view name) const {
  return checkpoint_->contains(prefix_ + std::string(name));
}

bool Scope::empty() const { return !checkpoint_->contains_under(prefix_); }

void Scope::leave_out() const { checkpoint_->leave_out(prefix_); }

std::string Scope::changeable_layer() const {
  std::string layer = prefix_.substr(0, prefix_.empty() ? 0 : prefix_.size() - 1);
  std::string name = component_ + "." + layer;
  checkpoint_->add_changeable_layer(std::move(layer));
  return name;
}

Scope Scope::with_dtype(at::ScalarType dtype) const {
  return {checkpoint_, prefix_, dtype, device_, component_};
}

}  // namespace diffused::weights
