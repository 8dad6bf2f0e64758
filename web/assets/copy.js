// Adds a button that copies to everything marked data-copy. Without this file nothing is missing:
// the text can be selected by hand.

if (navigator.clipboard) {
  for (const source of document.querySelectorAll("[data-copy]")) {
    source.after(copyButton(source));
  }
}

function copyButton(source) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy " + source.dataset.copy);
  const status = document.createElement("span");
  status.className = "aside";
  status.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    let answer = "Copied";
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
    } catch {
      answer = "Not allowed";
    }
    button.textContent = status.textContent = answer;
    setTimeout(() => {
      button.textContent = "Copy";
      status.textContent = "";
    }, 2000);
  });
  const pair = document.createElement("span");
  pair.className = "copying";
  pair.append(button, status);
  return pair;
}
