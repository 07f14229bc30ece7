// Numbers and messages as people read them.

export function percent(share) {
  if (share > 0.9995 && share < 1) return "more than 99.9 %";
  if (share > 0 && share < 0.0005) return "less than 0.1 %";
  return `${(share * 100).toFixed(1)} %`;
}

// A capital at its start and a full stop at its end.
export function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "";
}

export function modelName({ name, version, digest }) {
  return `${name}, ${version ? `version ${version}` : `bundle ${digest.slice(0, 12)}`}`;
}
