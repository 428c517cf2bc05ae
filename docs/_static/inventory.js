// Hides the rows of the inventory that lack any of the words typed, or the choice of a column.
const table = document.getElementById("inventory");
const controls = document.querySelectorAll("[data-filter]");
const count = document.getElementById("inventory-count");

function update() {
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const kept = [...controls].every((control) => keeps(control, row));
    row.hidden = !kept;
    shown += kept;
  }
  count.textContent = `${shown} of ${table.tBodies[0].rows.length}`;
}

function keeps(control, row) {
  const wanted = control.value.trim().toLowerCase();
  if (control.dataset.filter === "words") {
    const said = row.textContent.toLowerCase();
    return wanted.split(/\s+/).every((word) => said.includes(word));
  }
  return wanted === "" || row.dataset[control.dataset.filter] === wanted;
}

for (const control of controls) control.addEventListener("input", update);
update();
