// The Dispatcher of a server that has models and shares its store with others that have more: it makes what
// it can, and has the rest made through the store.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "job/dispatcher.h"

namespace diffused::background {

// Any thread.
class JoinedDispatcher final : public Dispatcher {
 public:
  // Both must outlive this.
  JoinedDispatcher(Dispatcher& here, Dispatcher& elsewhere) : here_(here), elsewhere_(elsewhere) {}

  std::vector<ServedModel> models() const override {
    std::vector<ServedModel> models = here_.models();
    for (ServedModel& model : elsewhere_.models())
      if (std::ranges::find(models, model.name, &ServedModel::name) == models.end())
        models.push_back(std::move(model));
    return models;
  }
  std::vector<ServedModel> upscalers() const override { return here_.upscalers(); }
  bool remembers(const std::string& name) const override { return elsewhere_.remembers(name); }
  Result<GenerateRequest> resolve(GenerateRequest request) const override {
    return of(request.model).resolve(std::move(request));
  }
  Result<Ticket> submit(GenerateRequest request, SubmitOptions options, EventSink sink) override {
    return of(request.model).submit(std::move(request), std::move(options), std::move(sink));
  }

 private:
  // A name goes before another model's alias, wherever the two are.
  Dispatcher& of(const std::string& name) const {
    const auto all = models();
    const auto model = find_named(all, name);
    return model != all.end() && !model->here ? elsewhere_ : here_;
  }

  Dispatcher& here_;
  Dispatcher& elsewhere_;
};

}  // namespace diffused::background
