#include "background/picture_output.h"

namespace diffused::background {
namespace {

// Runs one stage of a picture and tells how long it took.
template <typename Work>
auto timed(const PictureOutput& output, std::string_view model, PictureStage stage, Work work) {
  const SteadyTime begin = output.clock.now();
  auto result = work();
  if (output.stage_finished)
    output.stage_finished(model, stage, std::chrono::duration<double>(output.clock.now() - begin).count());
  return result;
}

}  // namespace

Result<Picture> PictureOutput::encode(const PictureRequest& request, const Recipe& recipe, std::uint64_t seed,
                                      const Image& image) const {
  return timed(*this, recipe.request.model, PictureStage::encode_image,
               [&] { return encode_picture(*request.codec, request.quality, recipe, seed, image, texts); });
}

Result<void> PictureOutput::store(std::string_view model, const std::string& id,
                                  const storage::Blob& blob) const {
  return timed(*this, model, PictureStage::store, [&] { return images.put(id, blob); });
}

}  // namespace diffused::background
