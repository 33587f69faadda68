"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const picture = document.getElementById("picture");
const minimap = document.getElementById("minimap");
const frame = document.getElementById("window");
const details = document.getElementById("details");
const [left, top, width, height] = picture.getAttribute("viewBox").split(" ").map(Number);
let view = { x: left, y: top, scale: 1 }; // units of the graph at the corner; units per pixel

function size() {
  return { width: picture.clientWidth || 1, height: picture.clientHeight || 1 };
}

function show() {
  const { width: w, height: h } = size();
  const box = [view.x, view.y, w * view.scale, h * view.scale];
  picture.setAttribute("viewBox", box.join(" "));
  ["x", "y", "width", "height"].forEach((name, i) => frame.setAttribute(name, box[i]));
}

function centre(x, y) {
  const { width: w, height: h } = size();
  view.x = x - (w * view.scale) / 2;
  view.y = y - (h * view.scale) / 2;
  show();
}

function zoom(factor, px, py) {
  const widest = Math.max(width / size().width, height / size().height);
  const scale = Math.min(Math.max(view.scale * factor, 0.2), Math.max(widest, 1) * 1.5);
  view.x += px * (view.scale - scale);
  view.y += py * (view.scale - scale);
  view.scale = scale;
  show();
}

function fit() {
  const { width: w, height: h } = size();
  view.scale = Math.max(width / w, height / h);
  centre(left + width / 2, top + height / 2);
}

function start() {
  const { width: w, height: h } = size();
  view.scale = Math.max(width / w, 1);
  view.x = left + (width - w * view.scale) / 2;
  view.y = top;
  show();
}

// Details: file-supplied text only ever becomes the content of text nodes.

function add(parent, tag, text) {
  const child = document.createElement(tag);
  child.textContent = text;
  parent.append(child);
  return child;
}

function bytes(count) {
  if (count === null) return "size known when it runs";
  return count < 104858 ? (count / 1024).toFixed(1) + " KiB" : (count / 1048576).toFixed(1) + " MiB";
}

function list(title, entries) {
  if (!entries.length) return;
  add(details, "h3", title);
  const ul = add(details, "ul", "");
  entries.forEach((text) => add(ul, "li", text));
}

function tensor(index) {
  const one = data.tensors[index];
  const kind = one.constant ? "constant, " : "";
  return one.name + ": " + one.type + ", " + kind + bytes(one.bytes);
}

function readers(outputs) {
  return Object.keys(data.boxes).filter((id) => data.boxes[id].inputs.some((t) => outputs.includes(t)));
}

function makers(inputs) {
  return Object.keys(data.boxes).filter((id) => data.boxes[id].outputs.some((t) => inputs.includes(t)));
}

function mark(name, ids) {
  document.querySelectorAll("." + name).forEach((box) => box.classList.remove(name));
  ids.forEach((id) => document.getElementById(id).classList.add(name));
}

function choose(id) {
  const box = data.boxes[id];
  mark("chosen", [id]);
  mark("beside", [...makers(box.inputs), ...readers(box.outputs)]);
  details.replaceChildren();
  details.hidden = false;
  add(details, "h2", box.operator + " (" + id + ")");
  if (typeof box.partition === "number") add(details, "p", "partition " + box.partition);
  list("reads", box.inputs.map(tensor));
  list("makes", box.outputs.map(tensor));
  list("attributes", Object.entries(box.attributes).map(([name, value]) => name + " = " + value));
}

function place(id) {
  const element = document.getElementById(id);
  const [x, y] = element.getAttribute("transform").match(/-?[\d.]+/g).map(Number);
  const rect = element.querySelector("rect");
  return [x + rect.getAttribute("width") / 2, y + rect.getAttribute("height") / 2];
}

function go(id) {
  view.scale = Math.min(view.scale, 1);
  centre(...place(id));
  choose(id);
}

// Search

const search = document.getElementById("search");
let matches = [];
let current = -1;

function find() {
  const wanted = search.value.trim().toLowerCase();
  const names = (box) => [...box.inputs, ...box.outputs].map((t) => data.tensors[t].name);
  matches = !wanted ? [] : Object.keys(data.boxes).filter((id) => {
    const box = data.boxes[id];
    return [id, box.operator, ...names(box)].some((text) => text.toLowerCase().includes(wanted));
  });
  current = -1;
  mark("match", matches);
  document.getElementById("found").textContent = wanted ? String(matches.length) : "";
}

function next(step) {
  if (!matches.length) return;
  current = (current + step + matches.length) % matches.length;
  document.getElementById("found").textContent = current + 1 + " of " + matches.length;
  go(matches[current]);
}

search.addEventListener("input", find);
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
});

// Moving about

let drag = null;

picture.addEventListener("pointerdown", (event) => {
  drag = { x: event.clientX, y: event.clientY, moved: false };
});
picture.addEventListener("pointermove", (event) => {
  if (!event.buttons) drag = null; // released outside the window
  if (!drag) return;
  const dx = event.clientX - drag.x;
  const dy = event.clientY - drag.y;
  if (!drag.moved && Math.abs(dx) + Math.abs(dy) < 4) return; // a click by an unsteady hand
  if (!drag.moved) picture.setPointerCapture(event.pointerId);
  drag = { x: event.clientX, y: event.clientY, moved: true };
  picture.classList.add("dragged");
  view.x -= dx * view.scale;
  view.y -= dy * view.scale;
  show();
});
picture.addEventListener("pointerup", (event) => {
  const box = event.target.closest && event.target.closest(".box");
  if (drag && !drag.moved && box) choose(box.id);
  drag = null;
  picture.classList.remove("dragged");
});
picture.addEventListener("pointercancel", () => { drag = null; });
picture.addEventListener("wheel", (event) => {
  event.preventDefault();
  const corner = picture.getBoundingClientRect();
  const pixels = event.deltaY * (event.deltaMode === 1 ? 20 : 1); // lines, in some browsers
  zoom(Math.exp(pixels / 500), event.clientX - corner.left, event.clientY - corner.top);
}, { passive: false });

function onMinimap(event) {
  if (!event.buttons) return;
  const point = new DOMPoint(event.clientX, event.clientY);
  const { x, y } = point.matrixTransform(minimap.getScreenCTM().inverse());
  centre(x, y);
}
minimap.addEventListener("pointerdown", onMinimap);
minimap.addEventListener("pointermove", onMinimap);

document.getElementById("legend").addEventListener("click", (event) => {
  const entry = event.target.closest("[data-first]");
  if (entry) go(entry.dataset.first);
});
document.getElementById("zoom-in").addEventListener("click", () => zoom(0.7, size().width / 2, size().height / 2));
document.getElementById("zoom-out").addEventListener("click", () => zoom(1.4, size().width / 2, size().height / 2));
document.getElementById("fit").addEventListener("click", fit);
window.addEventListener("resize", show);
start();
