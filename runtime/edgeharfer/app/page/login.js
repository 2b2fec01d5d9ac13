// Logs in: sends the token, receives a session cookie, opens the page.
import { sentence } from "./parts.js";

const form = document.getElementById("form"), complaint = document.getElementById("complaint");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  complaint.hidden = true;
  try {
    const answer = await fetch("api/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token: document.getElementById("token").value }),
    });
    if (answer.ok) {
      location.replace("./");
      return;
    }
    const { error } = await answer.json();
    complaint.textContent = sentence(error);
  } catch {
    complaint.textContent = "The app is not responding.";
  }
  complaint.hidden = false;
});
