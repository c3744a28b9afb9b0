#include "api/picture.h"

namespace diffused::api {
namespace {

background::PictureOutput output_of(const Api& api) {
  return {api.images, api.clock, api.options.pictures_tell ? PictureTexts::written : PictureTexts::left_out,
          api.stage_finished};
}

}  // namespace

Result<Picture> encode_picture(const Api& api, const PictureRequest& request, const Recipe& recipe,
                               std::uint64_t seed, const Image& image) {
  return output_of(api).encode(request, recipe, seed, image);
}

Result<void> store_picture(const Api& api, std::string_view model, const std::string& id,
                           const storage::Blob& blob) {
  return output_of(api).store(model, id, blob);
}

}  // namespace diffused::api
