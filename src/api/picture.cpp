#include "api/picture.h"

namespace diffused::api {
namespace {

// Runs one stage of a picture and tells how long it took.
template <typename Work>
auto timed(const Api& api, std::string_view model, PictureStage stage, Work work) {
  const SteadyTime begin = api.clock.now();
  auto result = work();
  if (api.stage_finished)
    api.stage_finished(model, stage, std::chrono::duration<double>(api.clock.now() - begin).count());
  return result;
}

Result<Picture> encode(const Codec& codec, std::uint64_t seed, const Image& image,
                       const EncodeOptions& options) {
  TRY(std::string bytes, codec.encode(image, options));
  return Picture{seed, image.width, image.height, std::make_shared<const std::string>(std::move(bytes))};
}

}  // namespace

Result<Picture> encode_picture(const Codec& codec, int quality, const Recipe& recipe, std::uint64_t seed,
                               const Image& image) {
  return encode(codec, seed, image, {quality, picture_texts(recipe, seed, image)});
}

Result<Picture> encode_picture(const Api& api, const ImageRequest& request, const Recipe& recipe,
                               std::uint64_t seed, const Image& image) {
  return timed(api, recipe.request.model, PictureStage::encode_image, [&] {
    EncodeOptions options{request.quality};
    if (api.options.pictures_tell) options.text = picture_texts(recipe, seed, image);
    return encode(*request.codec, seed, image, options);
  });
}

Result<void> store_picture(const Api& api, std::string_view model, const std::string& id,
                           const storage::Blob& blob) {
  return timed(api, model, PictureStage::store, [&] { return api.images.put(id, blob); });
}

}  // namespace diffused::api
