/**
 * Name the keys of everything a step depends on.
 *
 * @returns {object} an object with `keys`, by dependency
 */
const told = JSON.parse(require("fs").readFileSync(0, "utf8"));
const keys = {};
for (const [name, found] of Object.entries(told.dependencies)) {
  keys[name] = Object.keys(found.response);
}
console.log(JSON.stringify({ success: true, keys }));
