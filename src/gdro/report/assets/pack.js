// Reads what pack.py wrote: gzip of the length of a JSON text, the text, and arrays.
"use strict";

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function unpack(id) {
  const buffer = await inflate(document.getElementById(id).textContent);
  const length = new DataView(buffer).getUint32(0, true);
  const { data, arrays } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const kinds = { int8: Int8Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };
  const found = {};
  for (const [name, [kind, offset, count]] of Object.entries(arrays)) {
    found[name] = new kinds[kind](buffer, 4 + length + offset, count);
  }
  return { data, arrays: found };
}

// An element with attributes and children; strings become text, never markup.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.map((c) => (c instanceof Node ? c : String(c))));
  return made;
}
