#include "weights/checkpoint.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "weights/checkpoint_files.h"
#include "weights/load_error.h"
#include "weights/other_kinds.h"

namespace diffused::weights {
namespace {

[[noreturn]] void refuse(ErrorCode code, const std::filesystem::path& path, const std::string& message) {
  throw LoadError(Error{code, fmt::format("{}: {}", path.string(), message), path.string(), {}});
}

bool matches(at::IntArrayRef found, at::IntArrayRef expected) {
  return std::ranges::equal(found, expected, [](auto f, auto e) { return e == -1 || f == e; });
}

// Buffers that some exporters wrote into the file although they are no parameters.
bool is_stray(const std::string& name) {
  static constexpr std::array<std::string_view, 2> kEndings = {"position_ids", "logit_scale"};
  return std::ranges::any_of(kEndings, [&name](std::string_view ending) { return name.ends_with(ending); });
}

// One embedding under two names, in T5 files: either may be the only one, so one of them stays unused.
bool is_second_copy(const std::string& name, const std::set<std::string>& used) {
  static const std::string kNames[] = {"shared.weight", "encoder.embed_tokens.weight"};
  return (name == kNames[0] && used.contains(kNames[1])) || (name == kNames[1] && used.contains(kNames[0]));
}

// The list that a tensor is of, "down_blocks." of "down_blocks.0.resnets.1.conv1.weight"; empty for none.
std::string list_of(const std::string& name) {
  for (std::size_t begin = 0, dot = name.find('.'); dot != name.npos;
       begin = dot + 1, dot = name.find('.', begin)) {
    const auto part = std::string_view(name).substr(begin, dot - begin);
    if (!part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; }))
      return name.substr(0, begin);
  }
  return {};
}

// A tensor's name, and in a view the file's own for it.
std::string both_names(const std::string& name, const Entry& entry) {
  return entry.name == name ? fmt::format("'{}'", name) : fmt::format("'{}' ('{}')", entry.name, name);
}

// A tensor's sizes in the file, of which only transposing changes the reading.
std::vector<std::int64_t> shape_in_file(Form form, std::vector<std::int64_t> shape) {
  if (form == Form::transposed) std::ranges::reverse(shape);
  return shape;
}

at::Tensor in_form(Form form, at::Tensor tensor) {
  if (form == Form::transposed) return tensor.t().contiguous();
  if (form != Form::halves_swapped) return tensor;
  const auto halves = tensor.chunk(2);
  return at::cat({halves[1], halves[0]});
}

}  // namespace

Result<std::shared_ptr<Checkpoint>> Checkpoint::open(const std::filesystem::path& folder,
                                                     CheckpointOptions options) {
  TRY(const CheckpointFiles found, find_checkpoint(folder, options.stem, options.variant));
  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint(folder));
  for (const auto& path : found.files) TRY_VOID(checkpoint->add_file(path));
  for (const auto& [name, shard] : found.shards) {
    const auto place = checkpoint->places_.find(name);
    if (place == checkpoint->places_.end() || place->second.file->path().filename() != shard) {
      const std::string path = (folder / shard).string();
      return fail(ErrorCode::data_loss,
                  fmt::format("{}: tensor '{}' is missing, which the index places here", path, name), path);
    }
  }
  TRY_VOID(checkpoint->refuse_packed());
  TRY_VOID(checkpoint->attach_scales());
  return checkpoint;
}

Result<std::shared_ptr<Checkpoint>> Checkpoint::open_file(const std::filesystem::path& path) {
  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint(path));
  TRY_VOID(checkpoint->add_file(path));
  TRY_VOID(checkpoint->refuse_packed());
  TRY_VOID(checkpoint->attach_scales());
  return checkpoint;
}

Result<void> Checkpoint::add_file(const std::filesystem::path& path) {
  TRY(const auto file, MappedFile::open(path));
  auto header = read_header(file->bytes());
  if (!header) {
    const Error& error = header.error();
    return fail(error.code, fmt::format("{}: {}", path.string(), error.message), path.string());
  }
  metadata_.merge(header->metadata);
  for (Entry& entry : header->entries) {
    std::string name = entry.name;
    const auto [place, inserted] = places_.emplace(std::move(name), Place{file, std::move(entry), {}});
    if (!inserted) {
      return fail(ErrorCode::data_loss,
                  fmt::format("{}: tensor '{}' is in '{}' as well", path.string(), place->first,
                              place->second.file->path().filename().string()),
                  path.string());
    }
  }
  return {};
}

Result<void> Checkpoint::refuse_packed() const {
  for (const auto& [name, place] : places_) {
    const std::string_view tool = packed_by(name);
    if (tool.empty()) continue;
    const std::string path = place.file->path().string();
    return fail(
        ErrorCode::unsupported,
        fmt::format("{}: weights packed by {}, which are not read here: take the plain ones (tensor '{}')",
                    path, tool, name),
        path);
  }
  return {};
}

const Checkpoint::Place& Checkpoint::find(const std::string& name) const {
  const auto place = places_.find(name);
  if (place != places_.end()) return place->second;
  // A single file can be named; of several shards none is the one.
  const bool single = !places_.empty() && std::ranges::all_of(places_, [this](const auto& other) {
    return other.second.file == places_.begin()->second.file;
  });
  refuse(ErrorCode::data_loss, single ? places_.begin()->second.file->path() : folder_,
         fmt::format("tensor '{}' is missing", name));
}

at::Tensor Checkpoint::tensor(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype,
                              at::Device device) {
  const Place& place = find(name);
  const auto& file = place.file;
  const Entry& entry = place.entry;
  if (!matches(entry.shape, shape)) {
    refuse(ErrorCode::data_loss, file->path(),
           fmt::format("tensor {} has shape [{}], expected [{}]", both_names(name, entry),
                       fmt::join(entry.shape, ", "), fmt::join(shape, ", ")));
  }
  if (c10::isBarebonesUnsignedType(entry.dtype)) {
    refuse(ErrorCode::unsupported, file->path(),
           fmt::format("tensor {} is of type {}, which is no weight's", both_names(name, entry),
                       dtype_name(entry.dtype)));
  }
  if (!file->unchanged()) {
    refuse(ErrorCode::data_loss, file->path(),
           fmt::format("changed on disk before tensor '{}' was read", name));
  }
  std::uint64_t elements = 1;
  for (const std::int64_t size : entry.shape) elements *= static_cast<std::uint64_t>(size);
  if (used_.insert(name).second) {
    use_.parameters += elements;
    use_.bytes += elements * c10::elementSize(dtype);
  }
  if (device.is_meta()) return at::empty(entry.shape, at::TensorOptions(device).dtype(dtype));
  return in_form(place.form, stored(place, dtype, device));
}

at::Tensor Checkpoint::stored(const Place& place, at::ScalarType dtype, at::Device device) const {
  const auto& [file, entry, scale, form] = place;
  if (form == Form::unit_matrix) return at::eye(entry.shape[0], at::TensorOptions(device).dtype(dtype));
  if (scale.defined()) {
    Place unscaled = place;
    unscaled.scale.reset();
    const at::Tensor values = stored(unscaled, at::kFloat, at::kCPU);
    std::vector<std::int64_t> along_rows(values.dim(), 1);
    along_rows[0] = -1;
    return (values * scale.view(along_rows)).to(device, dtype);
  }
  char* const data = const_cast<char*>(file->bytes().data()) + entry.begin;
  const bool aligned = reinterpret_cast<std::uintptr_t>(data) % c10::elementSize(entry.dtype) == 0;
  if (!aligned) {
    const at::Tensor bytes =
        at::from_blob(data, {static_cast<std::int64_t>(entry.end - entry.begin)}, at::kByte).clone();
    file->release(entry.begin, entry.end);
    return bytes.view(entry.dtype).view(shape_in_file(form, entry.shape)).to(device, dtype);
  }
  // The tensor holds the mapping for as long as anyone holds the tensor. Then its pages are given back: a
  // layer that has repacked its weight must not cost memory twice.
  const at::Tensor mapped = at::from_blob(
      data, shape_in_file(form, entry.shape),
      [file = file, begin = entry.begin, end = entry.end](void*) { file->release(begin, end); }, entry.dtype);
  file->will_need(entry.begin, entry.end);
  if (entry.dtype == dtype && device.is_cpu()) return mapped;
  at::Tensor converted = mapped.to(device, dtype);
  file->release(entry.begin, entry.end);
  return converted;
}

bool Checkpoint::contains(const std::string& name) const { return places_.contains(name); }

bool Checkpoint::contains_under(const std::string& prefix) const {
  const auto first = places_.lower_bound(prefix);
  return first != places_.end() && first->first.starts_with(prefix);
}

const std::vector<std::int64_t>* Checkpoint::shape(const std::string& name) const {
  const auto place = places_.find(name);
  return place == places_.end() ? nullptr : &place->second.entry.shape;
}

std::vector<TensorInfo> Checkpoint::list() const {
  std::vector<TensorInfo> infos;
  infos.reserve(places_.size());
  for (const auto& [name, place] : places_) {
    const Entry& entry = place.entry;
    infos.push_back({name, std::string(dtype_name(entry.dtype)), entry.shape, entry.end - entry.begin,
                     place.file->path().filename().string()});
  }
  return infos;
}

std::vector<std::string> Checkpoint::unused() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) {
    if (used_.contains(name) || left_out_.contains(name)) continue;
    if (!is_stray(name) && !is_second_copy(name, used_)) names.push_back(name);
  }
  return names;
}

void Checkpoint::leave_out(const std::string& prefix) {
  for (auto place = places_.lower_bound(prefix); place != places_.end() && place->first.starts_with(prefix);
       ++place) {
    left_out_.insert(place->first);
  }
}

void Checkpoint::require_all_used(std::initializer_list<std::string_view> left_out) const {
  std::vector<std::string> names = unused();
  std::erase_if(names, [&left_out](const std::string& name) {
    return std::ranges::any_of(left_out,
                               [&name](std::string_view prefix) { return name.starts_with(prefix); });
  });
  if (names.empty()) return;
  log(LogLevel::warning, "tensors_left_out",
      {{"folder", folder_.string()},
       {"first", names.front()},
       {"count", static_cast<std::int64_t>(names.size())}});
  std::set<std::string> lists;
  for (const std::string& name : used_) lists.insert(list_of(name));
  lists.erase("");
  std::erase_if(names, [&lists](const std::string& name) { return !lists.contains(list_of(name)); });
  if (names.empty()) return;
  const Place& place = places_.at(names.front());
  const std::string others = names.size() == 1 ? "" : fmt::format(" (and {} others)", names.size() - 1);
  refuse(ErrorCode::data_loss, place.file->path(),
         fmt::format("tensor {} of shape [{}]{} is not part of the network that config.json describes",
                     both_names(names.front(), place.entry), fmt::join(place.entry.shape, ", "), others));
}

Fingerprint Checkpoint::fingerprint() const {
  Fingerprint print;
  std::map<const MappedFile*, std::shared_ptr<const SourceFile>> files;
  for (const auto& [name, place] : places_) {
    auto& file = files[place.file.get()];
    if (!file) file = std::make_shared<const SourceFile>(SourceFile{place.file->path(), place.file->stamp()});
    std::string scale;
    if (place.scale.defined()) {
      const at::Tensor values = place.scale.contiguous();
      scale.assign(static_cast<const char*>(values.const_data_ptr()), values.nbytes());
    }
    print.tensors.push_back({.name = name,
                             .dtype = place.entry.dtype,
                             .shape = place.entry.shape,
                             .form = static_cast<int>(place.form),
                             .scale = std::move(scale),
                             .valued = place.form != Form::unit_matrix,
                             .file = file,
                             .begin = place.entry.begin,
                             .end = place.entry.end});
  }
  return print;
}

}  // namespace diffused::weights
