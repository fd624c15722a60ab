"use strict";
const $ = (id) => document.getElementById(id);
const chosen = new Set();
const PAGE = 100;
let shown = PAGE, image = null, asking = null, searching = 0, known = null;

function made(kind, text, name) {
  const one = document.createElement(kind);
  if (text !== undefined) one.textContent = text;
  if (name) one.className = name;
  return one;
}

async function json(path, options) {
  const response = await fetch(path, options);
  const said = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(said.error || `the server answered ${response.status}`);
  return said;
}

async function list() {
  const mine = ++searching;
  const query = new URLSearchParams({ search: $("search").value, limit: Math.min(shown, 1000) });
  try {
    const said = await json(`tasks?${query}`);
    if (mine !== searching) return;
    known = said.served;
    $("tasks").replaceChildren(...said.tasks.map(row));
    $("found").textContent = `${said.found} of ${said.served}, ${chosen.size} chosen`;
    $("more").hidden = said.found <= shown || shown >= 1000;
  } catch (error) {
    known = null;
    $("found").textContent = error.message;
  }
}

function row(task) {
  const item = made("li"), label = made("label"), box = made("input");
  box.type = "checkbox";
  box.checked = chosen.has(task.name);
  box.addEventListener("change", () => {
    chosen[box.checked ? "add" : "delete"](task.name);
    $("found").textContent = $("found").textContent.replace(/\d+ chosen$/, `${chosen.size} chosen`);
    ask();
  });
  label.append(box, made("span", task.name), made("small", task.takes, "quiet"));
  item.append(label);
  return item;
}

async function ask() {
  const text = $("text").value.trim();
  asking?.abort();
  $("status").className = "quiet";
  if (!chosen.size || !(image || text)) {
    $("status").textContent = chosen.size ? "Give an image or a text." : "Choose tasks, then give an input.";
    $("answers").replaceChildren();
    return;
  }
  const mine = (asking = new AbortController()), body = new FormData(), begin = performance.now();
  for (const name of chosen) body.append("task", name);
  if (image) body.append("image", image);
  else body.append("text", text);
  $("status").textContent = "Asking …";
  try {
    const said = await json("predict", { method: "POST", body, signal: mine.signal });
    $("answers").replaceChildren(...said.answers.map(card));
    $("blend").hidden = !said.answers.some((answer) => answer.map);
    $("status").textContent = `${said.answers.length} answer${said.answers.length === 1 ? "" : "s"} in ${Math.round(performance.now() - begin)} ms`;
  } catch (error) {
    if (error.name === "AbortError") return;
    $("answers").replaceChildren();
    $("status").className = "bad";
    $("status").textContent = error.message;
  }
}

function card(answer) {
  const one = made("article");
  one.append(made("h3", answer.task));
  const said = answer.said ?? answer.label ?? answer.answer ?? "";
  if (said !== "") one.append(made("p", said, "said"));
  const listed = answer.probabilities ?? [];
  for (const each of Array.isArray(listed) ? listed : Object.entries(listed).map(([label, probability]) => ({ label, probability }))) {
    const bar = made("div", undefined, "bar"), meter = made("meter");
    meter.value = each.probability;
    bar.append(made("span", each.label), meter, made("b", `${(100 * each.probability).toFixed(1)}%`));
    one.append(bar);
  }
  if (answer.map) one.append(maps(answer));
  one.append(made("small", `${answer.digest} · ${answer.generation}`));
  return one;
}

function maps(answer) {
  const both = made("div", undefined, "maps"), below = made("img"), above = made("img", undefined, "map");
  below.src = $("picture").src;
  below.alt = "";
  above.src = `data:image/png;base64,${answer.map}`;
  above.alt = `${answer.task}: a map over the image`;
  above.style.opacity = $("opacity").value / 100;
  both.append(below, above);
  return both;
}

function take(file) {
  if (!file) return;
  image = file;
  URL.revokeObjectURL($("picture").src);
  $("picture").src = URL.createObjectURL(file);
  $("picture").alt = file.name || "the image";
  $("picture").hidden = false;
  $("hint").textContent = file.name || "an image";
  $("text").value = "";
  ask();
}

async function stats() {
  if (!document.hidden) {
    try {
      const said = await json("stats");
      $("served").textContent = said.tasks;
      $("pace").textContent = said.rows_per_second;
      $("waiting").textContent = said.waiting;
      $("batch").textContent = said.rows_per_batch;
      if (said.tasks !== known) list();
    } catch {
      $("served").textContent = "no connection";
    }
  }
  setTimeout(stats, 1000);
}

let typing;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  shown = PAGE;
  typing = setTimeout(list, 120);
});
$("more").addEventListener("click", () => { shown += PAGE; list(); });
$("none").addEventListener("click", () => { chosen.clear(); list(); ask(); });
$("file").addEventListener("change", (event) => take(event.target.files[0]));
$("drop").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); $("file").click(); }
});
for (const name of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) take(file);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/INPUT|TEXTAREA/.test(event.target.tagName)) { event.preventDefault(); $("search").focus(); }
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("text").value.trim()) {
    image = null;
    $("picture").hidden = true;
    $("hint").textContent = "Drop an image here, paste one, or choose a file";
  }
  ask();
});
$("opacity").addEventListener("input", () => {
  for (const one of document.querySelectorAll("img.map")) one.style.opacity = $("opacity").value / 100;
});
list();
stats();
