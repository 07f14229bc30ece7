// Controls below an image. All are the browser's own, so that a keyboard and a screen reader work them.

let made = 0;

// A slider with its value beside its name; returns the input, whose `show()` writes the value anew.
export function slider(parent, name, { min, max, step = 1, value, words = String }, changed) {
  const box = control(parent, name);
  const output = Object.assign(document.createElement("output"), { htmlFor: box.id });
  box.label.append(output);
  const input = Object.assign(document.createElement("input"), { type: "range", id: box.id, min, max, step, defaultValue: value });
  input.show = () => {
    output.textContent = words(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => { input.show(); changed(Number(input.value)); });
  input.show();
  box.append(input);
  return input;
}

// A list to choose from: `options` are [value, words].
export function choice(parent, name, options, changed) {
  const box = control(parent, name);
  const select = Object.assign(document.createElement("select"), { id: box.id });
  for (const [value, words] of options) select.add(new Option(words, value));
  select.addEventListener("change", () => changed(select.value));
  box.append(select);
  return select;
}

export function button(parent, name, pressed) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: name });
  made.addEventListener("click", () => pressed(made));
  parent.append(made);
  return made;
}

function control(parent, name) {
  const box = document.createElement("div");
  box.className = "control";
  const label = document.createElement("label");
  made += 1;
  const id = `control-${made}`;
  label.htmlFor = id;
  label.append(Object.assign(document.createElement("span"), { textContent: name }));
  box.append(label);
  parent.append(box);
  return { id, label, append: (element) => box.append(element) };
}
