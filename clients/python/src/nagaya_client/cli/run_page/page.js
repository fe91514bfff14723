// Without this script everything is there and opens; with it rows can be searched.
document.documentElement.classList.add("scripted");
const search = document.getElementById("search");
const only = document.getElementById("only");
const groups = [...document.querySelectorAll(".rows details")];
const rows = [...document.querySelectorAll(".rows [data-text]")];

function show() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const asked = words.length > 0 || only.checked;
  for (const row of rows) {
    const text = row.dataset.text;
    const fits = words.every((word) => text.includes(word));
    row.hidden = !fits || (only.checked && !("notable" in row.dataset));
  }
  for (const group of groups) {
    const found = group.querySelector(".elements [data-text]:not([hidden])") !== null;
    const own = group.querySelector("summary");
    group.hidden = own.hidden && !found;
    own.hidden = false;
    if (asked) group.open = found;
  }
}

search.addEventListener("input", show);
only.addEventListener("change", show);
document.getElementById("all").addEventListener("click", () => {
  const open = groups.some((group) => !group.open);
  for (const group of groups) group.open = open;
});
