// Takes the page's own content anew every two seconds, while somebody looks at it.
"use strict";
const INTERVAL_MS = 2000;

async function renew() {
  if (!document.hidden) {
    try {
      const answer = await fetch("/status", { cache: "no-store" });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.querySelector("main").replaceWith(fresh.querySelector("main"));
      document.body.classList.remove("lost");
    } catch {
      document.body.classList.add("lost");
    }
  }
  setTimeout(renew, INTERVAL_MS);
}

setTimeout(renew, INTERVAL_MS);
