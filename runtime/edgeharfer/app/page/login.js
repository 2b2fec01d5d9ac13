// Shows the token, gets a cookie, opens the page.
"use strict";
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
    complaint.textContent = (await answer.json()).error;
  } catch {
    complaint.textContent = "The app does not answer.";
  }
  complaint.hidden = false;
});
