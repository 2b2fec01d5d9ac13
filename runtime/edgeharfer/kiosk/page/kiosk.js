// Polls the service four times a second; failed requests are retried.
"use strict";
const byId = (id) => document.getElementById(id);
const SHIFT = 0.012, SHIFT_EVERY_MS = 60_000; // moves the page slowly in a circle against burn-in

const QUIET = { uncertain: "Not sure", background: "No action" };
let text = { labels: {}, waiting: "" }; // of the configuration, with the first answer

function humanise(label) {
  for (const names of [text.labels, QUIET]) if (Object.hasOwn(names, label)) return names[label];
  const words = label.replace(/([a-z0-9])([A-Z])/g, "$1 $2").replace(/[_-]+/g, " ").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function show(state) {
  text = state.text;
  document.documentElement.lang = text.language;
  document.title = state.title;
  setText("title", state.title);
  setText("headline", state.action ? humanise(state.action) : state.people ? text.hello : state.title);
  setText("message", state.declined ? text.declined : state.message);
  setText("agree", text.agree);
  setText("decline", text.decline);
  byId("moods").setAttribute("aria-label", text.emotions);
  byId("picture").alt = text.camera;
  byId("moods").replaceChildren(...state.emotions.map((label) => {
    const item = document.createElement("li");
    item.textContent = humanise(label);
    return item;
  }));
  setText("notice-text", state.notice);
  byId("notice").hidden = !state.notice;
  byId("screen").classList.toggle("asks", Boolean(state.notice));
  setText("caption", state.blurred ? `${text.blurred} ${text.not_stored}` : text.not_stored);
  byId("camera").hidden = !state.camera;
  byId("state").className = state.state;
  setText("state", state.state === "live" ? text.live : text.connecting);
  turn(state.turn);
}

function turn(degrees) {
  const screen = byId("screen"), sideways = degrees % 180 !== 0;
  screen.classList.toggle("upright", sideways === innerWidth > innerHeight);
  screen.style.width = sideways ? "100vh" : "100vw";
  screen.style.height = sideways ? "100vw" : "100vh";
  screen.style.left = sideways ? "calc((100vw - 100vh) / 2)" : "0";
  screen.style.top = sideways ? "calc((100vh - 100vw) / 2)" : "0";
  screen.style.right = screen.style.bottom = "auto";
  screen.style.margin = "0";
  screen.style.rotate = `${degrees}deg`;
}

async function poll() {
  try {
    const answer = await fetch("/state.json");
    show(await answer.json());
  } catch {
    setText("state", text.waiting);
    byId("state").className = "";
  }
  setTimeout(poll, 250);
}

let picture = "";
async function refreshPicture() {
  if (!byId("camera").hidden) {
    try {
      const answer = await fetch("/frame.jpg");
      if (answer.ok) {
        const next = URL.createObjectURL(await answer.blob());
        byId("picture").src = next;
        if (picture) URL.revokeObjectURL(picture);
        picture = next;
      }
    } catch { /* retried in the next turn */ }
  }
  setTimeout(refreshPicture, 120);
}

let step = 0;
function shift() {
  step += 1;
  const radius = SHIFT * Math.min(innerWidth, innerHeight);
  byId("screen").style.translate = `${radius * Math.cos(step)}px ${radius * Math.sin(step)}px`;
}

for (const [id, path] of [["agree", "/notice"], ["decline", "/decline"]]) {
  byId(id).addEventListener("click", () => fetch(path, { method: "POST" }).catch(() => undefined));
}
setInterval(shift, SHIFT_EVERY_MS);
poll();
refreshPicture();
