// Switches between the views, and loads what they need.
import { Analyse } from "./analyse.js";
import { Live } from "./live.js";
import { ask, part, setColors } from "./parts.js";
import { Teach } from "./teach.js";

const VIEWS = ["live", "analyse", "teach"];
const about = await ask("api/about");
setColors(about.colors);
part("version").textContent = about.version ? `edgeharfer ${about.version}` : "";
part("where").textContent = about.asks_token
  ? "Pictures and uploads are analysed on the server of this page and sent nowhere else."
  : "Nothing leaves this machine.";
part("logout").hidden = !about.asks_token;
part("logout").addEventListener("click", async () => {
  await fetch("api/logout", { method: "POST" });
  location.replace("login");
});

const live = new Live(about), analyse = new Analyse(about), teach = new Teach(about);

function show() {
  const open = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "live";
  for (const name of VIEWS) {
    part(name).hidden = name !== open;
    if (name === open) part(`tab-${name}`).setAttribute("aria-current", "page");
    else part(`tab-${name}`).removeAttribute("aria-current");
  }
  live.watch(open === "live" && !document.hidden);
  live.shown(open === "live");
  analyse.shown(open === "analyse");
  teach.shown(open === "teach");
}

addEventListener("hashchange", show);
document.addEventListener("visibilitychange", show);
show();
