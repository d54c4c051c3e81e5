// Files and folders that were dropped or chosen, by class: a folder of pictures is a class, and a
// folder of such folders is several.

const PARTS = /^(train|training|val|valid|validation|test)$/i;
const litter = (name) => name.startsWith(".") || ["thumbs.db", "desktop.ini"].includes(name.toLowerCase());

// Files directly below no folder have the path [NAME].
export const chosen = (files) =>
  [...files]
    .map((file) => ({ file, path: (file.webkitRelativePath || file.name).split("/") }))
    .filter(({ path }) => !path.some(litter));

// Has to be called in the event's own turn; what it returns may be awaited.
export function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return Promise.resolve(chosen(transfer.files));
  return walked(entries);
}

async function walked(entries) {
  const found = [];
  for (const entry of entries) {
    if (litter(entry.name)) continue;
    if (entry.isDirectory) found.push(...(await walked(await listed(entry))));
    else {
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      if (file) found.push({ file, path: entry.fullPath.split("/").filter(Boolean) });
    }
  }
  return found;
}

// A browser gives a folder's entries a hundred at a time.
async function listed(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) return all;
    all.push(...some);
  }
}

// Returns files by class name; those in no folder are under the empty name.
export function byClass(found) {
  const classes = new Map();
  const add = (name, file) => classes.set(name, [...(classes.get(name) ?? []), file]);
  const put = (files, depth) => {
    for (const [top, inside] of grouped(files, depth)) {
      const loose = inside.some(({ path }) => path.length === depth + 2);
      if (top === null) inside.forEach(({ file }) => add("", file));
      // Pictures below a class folder are of the class, in whatever folder.
      else if (loose && !PARTS.test(top)) inside.forEach(({ file }) => add(top, file));
      else if (loose) inside.forEach(({ file }) => add("", file));
      else put(inside, depth + 1);
    }
  };
  put(found, 0);
  return classes;
}

function grouped(files, depth) {
  const groups = new Map();
  for (const one of files) {
    const top = one.path.length > depth + 1 ? one.path[depth] : null;
    groups.set(top, [...(groups.get(top) ?? []), one]);
  }
  return groups;
}
