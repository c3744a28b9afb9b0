#include "api/endpoints.h"

namespace diffused::api {
namespace {

// Complete in itself: no script, font or picture of another host, so that it works on a machine without a
// network.
constexpr std::string_view kIndexPage = R"html(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>diffused</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #222; background: #fafafa; }
  h1 { font-size: 1.6rem; margin-bottom: 0; }
  pre { background: #eee; padding: .8rem; overflow-x: auto; border-radius: .4rem; font-size: .85rem; }
  form { display: flex; gap: .5rem; flex-wrap: wrap; margin: 1.5rem 0 1rem; }
  input, button { font: inherit; padding: .5rem .7rem; border: 1px solid #bbb; border-radius: .4rem; background: #fff; }
  input[name=prompt] { flex: 1 1 20rem; }
  input[name=key] { flex: 0 1 9rem; }
  button { background: #234; color: #fff; border-color: #234; }
  #picture img { max-width: 100%; border-radius: .4rem; display: block; }
  small, figcaption { color: #666; }
  @media (prefers-color-scheme: dark) {
    body { background: #16181b; color: #ddd; } pre { background: #24272b; }
    input { background: #24272b; color: #ddd; border-color: #444; } button { background: #467; }
    small, figcaption { color: #999; }
  }
</style>
<h1>diffused</h1>
<p>This server makes pictures from words with a Diffusers model, behind the OpenAI images API.</p>
<form id="form">
  <input name="prompt" aria-label="Prompt" value="a kitten in front of a fireplace" required maxlength="2000">
  <input name="key" type="password" aria-label="API key" placeholder="API key, if any" autocomplete="off">
  <button>Make it</button>
</form>
<figure id="picture" style="margin: 0"><figcaption id="note" role="status"></figcaption></figure>
<p>The same from a shell:</p>
<pre id="curl">curl -X POST -H "Content-Type: application/json" \
  --data '{"prompt": "a kitten in front of a fireplace"}' \
  http://localhost:8000/v1/images/generations</pre>
<p><small>More: <a href="docs">the API</a> · <a href="v1/models">models</a> · <a href="health">health</a></small></p>
<script>
  const form = document.getElementById("form"), figure = document.getElementById("picture");
  const note = document.getElementById("note"), curl = document.getElementById("curl");
  curl.textContent = curl.textContent.replace("http://localhost:8000", location.origin);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const headers = { "Content-Type": "application/json" };
    if (form.key.value) headers.Authorization = "Bearer " + form.key.value;
    form.querySelector("button").disabled = true;
    note.textContent = "Working…";
    try {
      const answer = await fetch("v1/images/generations", {
        method: "POST", headers,
        body: JSON.stringify({ prompt: form.prompt.value, response_format: "b64_json" }),
      });
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.error.message);
      figure.querySelector("img")?.remove();
      const image = new Image();
      image.alt = form.prompt.value;
      image.src = "data:image/png;base64," + body.data[0].b64_json;
      figure.prepend(image);
      note.textContent = `${body.model}, ${body.size}, seed ${body.data[0].seed}, ${body.timings.total_seconds.toFixed(1)} s`;
    } catch (error) {
      note.textContent = error.message;
    }
    form.querySelector("button").disabled = false;
  });
</script>
</html>
)html";

}  // namespace

asio::awaitable<void> send_page(http::Exchange& exchange, std::string_view html) {
  http::Response response;
  response.content_type = "text/html; charset=utf-8";
  response.body = std::make_shared<const std::string>(html);
  response.headers = {{"Content-Security-Policy",
                       "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                       "img-src data:; connect-src 'self'; frame-ancestors 'none'; form-action 'self'"}};
  co_await exchange.send(std::move(response));
}

asio::awaitable<void> show_index(const Api&, http::Exchange& exchange) {
  return send_page(exchange, kIndexPage);
}

}  // namespace diffused::api
