// A request as a program would send it.
import { base, key } from "./server.js";
import { jsonOf } from "./settings.js";

const shell = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
const formFields = (request) => Object.entries(request).map(([name, value]) =>
  [name, typeof value === "object" ? JSON.stringify(value) : String(value)]);
const files = (edit) => (edit.mask ? [["image", "picture.png"], ["mask", "mask.png"]] : [["image", "picture.png"]]);

function curl(request, edit) {
  const auth = key.value ? ' -H "Authorization: Bearer $API_KEY"' : "";
  if (!edit)
    return `curl -X POST -H "Content-Type: application/json"${auth} \\\n  --data ${shell(jsonOf(request, 1))} \\\n  ${base}v1/images/generations`;
  const fields = formFields(request).map(([name, value]) => `  --form-string ${shell(`${name}=${value}`)} \\\n`).join("");
  const parts = files(edit).map(([name, file]) => `  -F ${name}=@${file} \\\n`).join("");
  const mode = edit.mask ? "  -F mask_mode=luminance \\\n" : "";
  return `curl${auth} \\\n${fields}${parts}${mode}  ${base}v1/images/edits`;
}

// Of texts alone, JSON is Python too.
const pythonTexts = (texts) => JSON.stringify(texts, null, 1).replaceAll("\n", "\n    ");

function python(request, edit) {
  const head = 'import base64\nimport os\n\nimport requests\n\n';
  const auth = key.value ? '    headers={"Authorization": "Bearer " + os.environ["API_KEY"]},\n' : "";
  const keep = '\nanswer.raise_for_status()\nwith open("picture.png", "wb") as file:\n    file.write(base64.b64decode(answer.json()["data"][0]["b64_json"]))\n';
  const whole = { ...request, response_format: "b64_json" };
  if (!edit) {
    const json = jsonOf(whole, 1).replaceAll("\n", "\n    ");
    return `${head}answer = requests.post(\n    "${base}v1/images/generations",\n${auth}    json=${json},\n)${keep}`;
  }
  if (edit.mask) whole.mask_mode = "luminance";
  const parts = files(edit).map(([name, file]) => `"${name}": open("${file}", "rb")`).join(", ");
  return `${head}answer = requests.post(\n    "${base}v1/images/edits",\n${auth}    data=${pythonTexts(Object.fromEntries(formFields(whole)))},\n    files={${parts}},\n)${keep}`;
}

function javascript(request, edit) {
  const auth = key.value ? "Authorization: `Bearer ${process.env.API_KEY}`" : "";
  const tail = "if (!answer.ok) throw new Error((await answer.json()).error.message);\nconst { data } = await answer.json();\n";
  const whole = { ...request, response_format: "b64_json" };
  if (!edit) {
    const headers = ['"Content-Type": "application/json"', auth].filter(Boolean).join(", ");
    // A seed may be larger than a number of JavaScript's: the body is written as text then.
    const body = typeof whole.seed === "string" ? `\`${jsonOf(whole).replace(/[`\\$]/g, "\\$&")}\`` : `JSON.stringify(${jsonOf(whole, 2).replaceAll("\n", "\n  ")})`;
    return `const answer = await fetch("${base}v1/images/generations", {\n  method: "POST",\n  headers: { ${headers} },\n  body: ${body},\n});\n${tail}`;
  }
  if (edit.mask) whole.mask_mode = "luminance";
  const fields = formFields(whole).map(([name, value]) => `form.append(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`).join("");
  const parts = files(edit).map(([name, file]) => `form.append("${name}", await openAsBlob("${file}"));\n`).join("");
  return `import { openAsBlob } from "node:fs";\n\nconst form = new FormData();\n${fields}${parts}` +
    `const answer = await fetch("${base}v1/images/edits", { method: "POST", body: form${auth ? `, headers: { ${auth} }` : ""} });\n${tail}`;
}

// {curl, Python, JavaScript}: ready to paste. `edit` is null, or says whether there is a mask.
export const snippets = (request, edit) => ({
  curl: curl(request, edit), Python: python(request, edit), JavaScript: javascript(request, edit),
});
