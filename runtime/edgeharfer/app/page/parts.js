// Helpers for all views.
export const part = (id) => document.getElementById(id);
export const percent = (share) => `${Math.round(100 * share)} %`;
export const minutes = (value) => `${Math.floor(value / 60)}:${String(Math.floor(value % 60)).padStart(2, "0")}`;
export const seconds = (value) => (value < 120 ? `${value.toFixed(1)} s` : `${minutes(value)} min`);
export const LABEL_UNCERTAIN = "uncertain", LABEL_BACKGROUND = "background";
const QUIET = { [LABEL_UNCERTAIN]: "Not sure", [LABEL_BACKGROUND]: "No action" };
export const quiet = (label) => Object.hasOwn(QUIET, label);

// A message as a sentence of its own.
export function sentence(text) {
  if (!text) return "";
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Human-readable form of a label: "Boxing punching bag" for "BoxingPunchingBag".
export function words(label) {
  if (quiet(label)) return QUIET[label];
  const text = label.replace(/([a-z0-9])(?=[A-Z])|([A-Z])(?=[A-Z][a-z])|[_\-\s]+/g, "$1$2 ").trim()
    .split(" ").map((word) => word.length > 1 && word === word.toUpperCase() ? word : word.toLowerCase()).join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

let colors = {};
export function setColors(found) { colors = found; }
export function paint(node, label) { node.style.setProperty("--label", colors[label] ?? "#9aa3ae"); }

export function announce(text) { setText(part("announce"), text); }

export async function ask(address, options = {}) {
  const answer = await fetch(address, options);
  if (answer.status === 401) location.replace("login");
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

export const order = (method, content) => ({
  method,
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(content),
});

// Makes one child per entry from a template, and fills each with `fill`.
export function fillList(list, template, entries, fill) {
  while (list.children.length > entries.length) list.lastElementChild.remove();
  while (list.children.length < entries.length) list.append(part(template).content.cloneNode(true));
  entries.forEach((entry, index) => fill(list.children[index], entry));
}

export function fillBar(item, [label, share], strong = false) {
  paint(item, label);
  item.classList.toggle("leads", strong);
  setText(item.querySelector(".name"), words(label));
  setText(item.querySelector(".share"), percent(share));
  item.querySelector("i").style.width = share < 0.005 ? "0" : `${Math.min(100, 100 * share).toFixed(1)}%`;
}

export function fillLines(list, lines) {
  if (list.children.length === lines.length && lines.every((line, i) => list.children[i].textContent === line)) return;
  list.replaceChildren(...lines.map((line) => {
    const item = document.createElement("li");
    item.textContent = line;
    return item;
  }));
}

export const guesses = (likely) => likely.map((one) => `${words(one.activity)}, ${percent(one.probability)}`);
