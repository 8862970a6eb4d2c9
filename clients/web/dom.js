// Owns the two ways this page makes elements: h() for HTML and icon() for inline SVG. Reactions have
// drawn icons too, so that nothing depends on an emoji font.

const SVG = "http://www.w3.org/2000/svg";

/** h("button.primary", {onclick, "aria-label": …}, child, …); null and false children are left out. */
export function h(name, props = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const el = document.createElement(tag);
  if (classes.length) el.className = classes.join(" ");
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else if (value === true) el.setAttribute(key, "");
    else if (value !== false && value != null) el.setAttribute(key, value);
  }
  el.append(...children.flat().filter((child) => child != null && child !== false));
  return el;
}

// Line icons on a 24 x 24 grid. A name with several paths is drawn from all of them.
const PATHS = {
  plug: "M9 2v6M15 2v6M6 8h12v3a6 6 0 0 1-12 0zM12 17v5",
  unplug: "M9 2v5M15 2v5M6 8h12v3a6 6 0 0 1-1.2 3.6M12 17v5M6.6 14A6 6 0 0 1 6 11V8M3 3l18 18",
  search: "M11 4a7 7 0 1 1 0 14a7 7 0 0 1 0-14M16.2 16.2L21 21",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6L6 18",
  send: "M5 12h13M12.5 5.5L19 12l-6.5 6.5",
  down: "M6 9.5l6 6l6-6",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  reply: "M9.5 7L4.5 12l5 5M5 12h9a5 5 0 0 1 5 5v1",
  edit: "M4 20l1-4L16.5 4.5l3 3L8 19zM14.5 6.5l3 3",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5",
  file: "M7 3h7l4 4v14H7zM14 3v4h4",
  clock: "M12 4a8 8 0 1 1 0 16a8 8 0 0 1 0-16M12 8v4.3l2.8 1.7",
  check: "M5 12.5l4.5 4.5L19 7.5",
  checks: "M2.5 12.5L7 17l8.5-9.5M11.5 16l1 1L21.5 7.5",
  offer: "M4 12V4h8l8.5 8.5l-8 8zM8 8h.01",
  alert: "M12 4a8 8 0 1 1 0 16a8 8 0 0 1 0-16M12 8v5M12 15.9v.1",
};

/** Gives a row the classes of its state. A flash that is on it is somebody's jump to it, and goes on. */
export function restyle(el, classes) {
  el.className = [...classes, el.classList.contains("flash") && "flash"].filter(Boolean).join(" ");
}

export function icon(name, className = "") {
  return svg(`icon ${className}`, [{ d: PATHS[name] }]);
}

function svg(className, shapes) {
  const el = document.createElementNS(SVG, "svg");
  el.setAttribute("viewBox", "0 0 24 24");
  el.setAttribute("class", className.trim());
  el.setAttribute("aria-hidden", "true");
  for (const { tag = "path", ...attributes } of shapes) {
    const shape = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    el.append(shape);
  }
  return el;
}

const face = [{ tag: "circle", cx: 12, cy: 12, r: 10, fill: "#ffc83d" }];
const ink = { fill: "none", stroke: "#5b3a09", "stroke-width": 1.8, "stroke-linecap": "round", "stroke-linejoin": "round" };

/** The reactions offered in the menu; others from the server are shown as text. */
export const REACTIONS = [
  { emoji: "👍", name: "Thumbs up", shapes: [
    { d: "M2.5 10.5h4v10.5h-4z", fill: "#4f7fd9" },
    { d: "M8 20.2V11L11.6 3.2c.2-.5.7-.8 1.2-.7 1.5.3 2.3 1.7 2 3.2L14.1 9.3H19.4c1.5 0 2.6 1.4 2.2 2.9l-1.9 7c-.3 1.1-1.2 1.8-2.3 1.8H10.4z", fill: "#ffc83d" }] },
  { emoji: "❤️", name: "Heart", shapes: [
    { d: "M12 20.8C5.5 16 2.5 12.6 2.5 8.7C2.5 5.7 4.8 3.6 7.5 3.6c1.9 0 3.5 1 4.5 2.7c1-1.7 2.6-2.7 4.5-2.7c2.7 0 5 2.1 5 5.1c0 3.9-3 7.3-9.5 12.1z", fill: "#e5484d" }] },
  { emoji: "😂", name: "Laugh", shapes: [...face,
    { d: "M6 12.5h12c0 3.9-2.6 6.3-6 6.3s-6-2.4-6-6.3z", fill: "#5b3a09" },
    { d: "M6.2 9.4c.6-1.3 2.4-1.3 3 0M14.8 9.4c.6-1.3 2.4-1.3 3 0", ...ink }] },
  { emoji: "👀", name: "Looking", shapes: [
    { tag: "ellipse", cx: 7, cy: 12, rx: 4.6, ry: 7, fill: "#fff", stroke: "#7c8794", "stroke-width": 1.4 },
    { tag: "ellipse", cx: 17, cy: 12, rx: 4.6, ry: 7, fill: "#fff", stroke: "#7c8794", "stroke-width": 1.4 },
    { tag: "circle", cx: 5.8, cy: 13.5, r: 2.3, fill: "#2b3440" }, { tag: "circle", cx: 15.8, cy: 13.5, r: 2.3, fill: "#2b3440" }] },
  { emoji: "✅", name: "Agreed", shapes: [
    { tag: "rect", x: 2.5, y: 2.5, width: 19, height: 19, rx: 5, fill: "#30a46c" },
    { d: "M7 12.4l3.4 3.4L17 8.8", ...ink, stroke: "#fff", "stroke-width": 2.4 }] },
];

const plain = (emoji) => emoji.replace(/\ufe0f/g, "");

export function reaction(emoji) {
  const known = REACTIONS.find((r) => plain(r.emoji) === plain(emoji));
  return known ? svg("emoji", known.shapes) : emoji;
}

export const initials = (name) => name.split(/\s+/).slice(0, 2).map((word) => word[0]?.toUpperCase() ?? "").join("");
