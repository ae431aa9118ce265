"use strict";

// Cards that are outside the window by less than this many rows are there already.
const ROWS_BESIDE = 2;
const BARS_ON_A_CARD = 3;
const GAP = 14;
// Blocks of pictures that are kept parsed: several windows full.
const BLOCKS_KEPT = 8;

const byId = (id) => document.getElementById(id);
const parsed = (element) => JSON.parse(element.textContent);
const labels = parsed(byId("labels"));
const images = parsed(byId("images"));
const collator = new Intl.Collator(undefined, { numeric: true });
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const number = (count) => count.toLocaleString("en");

// Every text goes into the page as a text node: whatever a name holds, it is never markup.
function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

function track(share) {
  const fill = element("span", "fill");
  fill.style.width = `${100 * share}%`;
  return element("span", "track", fill);
}

// ---- Images

images.forEach((image, place) => {
  image.place = place;
  image.confidence = image.scores ? image.scores[0][1] : -1;
  image.search = image.name.toLowerCase();
  image.kind = image.failure ? "failed" : image.answer === null ? "unknown" : "answered";
  const judged = image.scores && image.truth !== undefined;
  image.verdict = !judged ? "" : image.answer === image.truth ? "correct" : "wrong";
});

const blocks = document.getElementsByClassName("thumbnails");
const blockSize = blocks.length ? parsed(blocks[0]).length : 1;
const parsedBlocks = new Map();

function thumbnail(image) {
  const key = Math.floor(image.place / blockSize);
  const block = parsedBlocks.get(key) ?? parsed(blocks[key]);
  parsedBlocks.delete(key); // the one used last is kept longest
  parsedBlocks.set(key, block);
  if (parsedBlocks.size > BLOCKS_KEPT) parsedBlocks.delete(parsedBlocks.keys().next().value);
  return block[image.place % blockSize];
}

function picture(image, alt, jpeg = thumbnail(image)) {
  if (!jpeg) {
    const text = image.failure ? image.failure.code.replaceAll("_", " ") : "no preview";
    return element("span", "code", text);
  }
  const made = document.createElement("img");
  made.alt = alt;
  made.decoding = "async";
  made.src = `data:image/jpeg;base64,${jpeg}`;
  return made;
}

function answerText(image) {
  if (image.failure) return `failed: ${image.failure.message}`;
  const best = `${labels[image.scores[0][0]]} ${percent(image.confidence)}`;
  return image.answer === null ? `unknown (best: ${best})` : best;
}

// ---- Filters

const filters = byId("filters");
const controls = {};
for (const id of ["search", "show", "truth", "lowest", "highest", "sort"]) controls[id] = byId(id);

function option(select, value, text) {
  const made = element("option", "", text);
  made.value = value;
  select.append(made);
}

function counted(key) {
  const counts = new Map();
  for (const image of images) counts.set(key(image), (counts.get(key(image)) ?? 0) + 1);
  return counts;
}

function addKinds() {
  const counts = new Map([...counted((image) => image.kind), ...counted((image) => image.verdict)]);
  counts.set("doubt", images.filter((image) => image.doubt).length);
  counts.set("narrow", images.filter((image) => image.seen !== undefined).length);
  option(controls.show, "", `All images (${number(images.length)})`);
  const kinds = [["correct", "Correct"], ["wrong", "Wrong"], ["answered", "Answered"],
    ["doubt", "Doubt"], ["narrow", "Less than half seen"], ["unknown", "Unknown"], ["failed", "Failed"]];
  for (const [kind, text] of kinds) {
    if (counts.get(kind)) option(controls.show, kind, `${text} (${number(counts.get(kind))})`);
  }
}

function addTruths() {
  const counts = counted((image) => image.truth);
  counts.delete(undefined);
  byId("truth-field").hidden = counts.size === 0;
  option(controls.truth, "", "Any");
  labels.forEach((label, place) => {
    if (counts.has(place)) option(controls.truth, place, `${label} (${number(counts.get(place))})`);
  });
}

function addAnswers() {
  const counts = counted((image) => image.answer);
  counts.delete(undefined); // the failed ones have none
  const most = Math.max(1, ...counts.values());
  const add = (value, text, count) => {
    const radio = element("input");
    Object.assign(radio, { type: "radio", name: "answer", value, defaultChecked: value === "" });
    const row = element("label", "answer", radio, element("span", "text", text), " ",
      element("span", "number", number(count)));
    if (value !== "") row.append(track(count / most));
    row.title = text;
    byId("answers").append(row);
  };
  add("", "Any", images.length);
  const places = [...labels.keys()].filter((place) => counts.has(place));
  places.sort((a, b) => counts.get(b) - counts.get(a) || a - b);
  for (const place of places) add(place, labels[place], counts.get(place));
  if (counts.has(null)) add("unknown", "unknown", counts.get(null));
}

function passes() {
  const words = controls.search.value.trim().toLowerCase();
  const answer = filters.elements.answer.value;
  const [kind, truth] = [controls.show.value, controls.truth.value];
  const [lowest, highest] = [controls.lowest.value / 100, controls.highest.value / 100];
  // A sigmoid's highest and a failure's none are in the whole range.
  const any = lowest <= 0 && highest >= 1;
  return (image) => image.search.includes(words)
    && (!kind || image.kind === kind || image.verdict === kind || (kind === "doubt" && image.doubt)
      || (kind === "narrow" && image.seen !== undefined))
    && (!answer || (answer === "unknown" ? image.kind === answer : image.answer === Number(answer)))
    && (!truth || image.truth === Number(truth))
    && (any || (image.confidence >= lowest && image.confidence <= highest));
}

// Failed images have no confidence: they are last whichever end comes first.
const orders = {
  index: (a, b) => a.index - b.index,
  most: (a, b) => b.confidence - a.confidence || a.index - b.index,
  least: (a, b) => (a.confidence < 0) - (b.confidence < 0) || a.confidence - b.confidence
    || a.index - b.index,
  name: (a, b) => collator.compare(a.name, b.name) || a.index - b.index,
};
const sorted = {};

let shown = [];

function update() {
  const order = controls.sort.value;
  sorted[order] ??= [...images].sort(orders[order]);
  shown = sorted[order].filter(passes());
  active = 0;
  const text = `${number(shown.length)} of ${number(images.length)} images`;
  byId("count").textContent = shown.length === images.length ? `${number(images.length)} images` : text;
  byId("nothing").hidden = shown.length > 0;
  const [lowest, highest] = [controls.lowest.value, controls.highest.value];
  byId("confidence").textContent = lowest <= 0 && highest >= 100 ? "any" : `${lowest}–${highest}%`;
  cards.forEach((card) => card.remove());
  cards.clear();
  place();
}

// ---- Gallery: only the cards near the window exist

const gallery = byId("gallery");
const cards = new Map(); // by position among those shown
let columns = 1, cardWidth = 0, rowHeight = 1, active = 0;

function card(position) {
  const image = shown[position];
  const button = element("button", "card",
    element("span", "picture", picture(image, "")), words(image));
  button.type = "button";
  button.title = image.name;
  button.onclick = () => openLightbox(position);
  button.onfocus = () => activate(position);
  const item = element("li", "", button);
  item.setAttribute("aria-setsize", shown.length);
  item.setAttribute("aria-posinset", position + 1);
  return item;
}

function words(image) {
  const name = image.name.slice(image.name.lastIndexOf("/") + 1) || image.name;
  const title = element("span", "title", element("bdi", "", name));
  if (image.kind === "unknown") title.append(element("span", "tag", "unknown"));
  if (image.doubt) title.append(element("span", "tag", "doubt"));
  if (image.seen !== undefined) title.append(element("span", "tag", `${percent(image.seen)} seen`));
  if (image.verdict) title.prepend(mark(image.verdict));
  const made = element("span", "words", title);
  if (image.failure) made.append(element("span", "reason", image.failure.message));
  for (const [label, probability] of (image.scores ?? []).slice(0, BARS_ON_A_CARD)) {
    made.append(element("span", label === image.answer ? "bar best" : "bar",
      element("span", "text", labels[label]), element("span", "number", percent(probability)),
      track(probability)));
  }
  return made;
}

function mark(verdict) {
  const made = element("span", ...{ correct: ["good", "✓"], wrong: ["bad", "✗"] }[verdict]);
  made.role = "img";
  made.ariaLabel = verdict;
  return made;
}

function measure() {
  const narrowest = parseFloat(getComputedStyle(gallery).getPropertyValue("--narrowest"));
  const width = gallery.clientWidth;
  columns = Math.max(1, Math.floor((width + GAP) / (narrowest + GAP)));
  cardWidth = (width - GAP * (columns - 1)) / columns;
  if (shown.length === 0) return;
  // All cards are equally high; one tells how high, whatever the font's size.
  const sample = cards.values().next().value ?? gallery.appendChild(card(0));
  sample.style.width = `${cardWidth}px`;
  rowHeight = sample.offsetHeight + GAP;
  if (!cards.size) sample.remove();
}

function place() {
  measure();
  gallery.style.height = `${Math.ceil(shown.length / columns) * rowHeight}px`;
  for (const [position, item] of cards) put(item, position);
  draw();
}

function put(item, position) {
  const x = (position % columns) * (cardWidth + GAP);
  const y = Math.floor(position / columns) * rowHeight;
  item.style.width = `${cardWidth}px`;
  item.style.transform = `translate(${x}px, ${y}px)`;
}

function draw() {
  const top = -gallery.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / rowHeight) - ROWS_BESIDE) * columns;
  const behind = (Math.ceil((top + innerHeight) / rowHeight) + ROWS_BESIDE) * columns;
  const wanted = new Set();
  for (let position = first; position < Math.min(behind, shown.length); position++) wanted.add(position);
  // The active card stays, wherever the page is scrolled to: it may hold the focus.
  if (shown.length) wanted.add(active);
  for (const [position, item] of cards) {
    if (wanted.has(position)) continue;
    item.remove();
    cards.delete(position);
  }
  // In their order, for those who read the page with Tab or a screen reader.
  let next = gallery.firstElementChild;
  for (const position of [...wanted].sort((a, b) => a - b)) {
    const item = cards.get(position) ?? card(position);
    if (!cards.has(position)) {
      cards.set(position, item);
      put(item, position);
    }
    item.firstElementChild.tabIndex = position === active ? 0 : -1;
    if (item === next) next = next.nextElementSibling;
    else gallery.insertBefore(item, next);
  }
}

function activate(position) {
  const old = cards.get(active);
  if (old) old.firstElementChild.tabIndex = -1;
  active = position;
  const item = cards.get(position);
  if (item) item.firstElementChild.tabIndex = 0;
}

function focusCard(position) {
  activate(Math.max(0, Math.min(position, shown.length - 1)));
  draw();
  const button = cards.get(active).firstElementChild;
  button.focus({ preventScroll: true });
  button.scrollIntoView({ block: "nearest" });
}

gallery.onkeydown = (event) => {
  const page = columns * Math.max(1, Math.floor(innerHeight / rowHeight));
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns,
    PageDown: page, PageUp: -page, Home: -shown.length, End: shown.length };
  if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  focusCard(active + steps[event.key]);
};

// ---- Lightbox

const lightbox = byId("lightbox");
let looked = 0; // the position of the image in the lightbox

function openLightbox(position) {
  fillLightbox(position);
  lightbox.showModal();
  byId("close").focus();
}

function fillLightbox(position) {
  looked = position;
  const image = shown[position];
  byId("lightbox-place").textContent = `${number(position + 1)} of ${number(shown.length)}`;
  // Not `disabled`: that would take the focus from the button.
  byId("previous").ariaDisabled = position === 0;
  byId("next").ariaDisabled = position === shown.length - 1;
  const large = byId(`large-${image.place}`)?.textContent;
  byId("lightbox-picture").replaceChildren(picture(image, image.name, large));
  byId("lightbox-picture").classList.toggle("enlarged", !large);
  byId("lightbox-link").hidden = !image.link;
  byId("lightbox-link").href = image.link ?? "";
  byId("lightbox-link").textContent = /^https?:/i.test(image.link) ? "Open the address" : "Open the file";
  byId("lightbox-name").firstElementChild.textContent = image.name;
  const verdict = { correct: "correct", wrong: `wrong: it is ${labels[image.truth]}` }[image.verdict];
  const doubt = image.doubt && "no label fits well";
  const seen = image.seen !== undefined && `${percent(image.seen)} of it looked at`;
  byId("lightbox-verdict").textContent = [answerText(image), verdict, doubt, seen].filter(Boolean).join(" · ");
  byId("lightbox-verdict").className = { correct: "good", wrong: "bad" }[image.verdict] ?? (image.failure ? "bad" : "");
  byId("lightbox-scores").hidden = Boolean(image.failure);
  const rows = (image.scores ?? []).map(([label, probability, cosine]) => element("tr",
    label === image.answer ? "best" : "",
    element("td", "", labels[label], track(probability)),
    element("td", "", probability.toFixed(4)),
    element("td", "", cosine.toFixed(4))));
  byId("lightbox-scores").tBodies[0].replaceChildren(...rows);
}

function step(by) {
  const position = looked + by;
  if (position >= 0 && position < shown.length) fillLightbox(position);
}

byId("previous").onclick = () => step(-1);
byId("next").onclick = () => step(1);
byId("close").onclick = () => lightbox.close();
lightbox.onclose = () => focusCard(looked);
lightbox.onclick = (event) => { if (event.target === lightbox) lightbox.close(); };
lightbox.onkeydown = (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) step(by);
};

// ---- Colours

const theme = byId("theme");
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

function otherTheme() {
  const chosen = document.documentElement.dataset.theme;
  const isDark = chosen ? chosen === "dark" : systemIsDark.matches;
  return isDark ? "light" : "dark";
}

function showTheme() {
  theme.textContent = otherTheme() === "dark" ? "Dark colours" : "Light colours";
}

theme.onclick = () => {
  document.documentElement.dataset.theme = otherTheme();
  showTheme();
};
systemIsDark.onchange = showTheme;

// ---- Start

addKinds();
addTruths();
addAnswers();
byId("filters-toggle").onclick = (event) => {
  const isOpen = event.target.getAttribute("aria-expanded") === "true";
  event.target.setAttribute("aria-expanded", !isOpen);
};
filters.onsubmit = (event) => event.preventDefault();
filters.onreset = () => setTimeout(update); // the controls have their old values until then
for (const slider of [controls.lowest, controls.highest]) {
  slider.addEventListener("input", () => {
    const other = slider === controls.lowest ? controls.highest : controls.lowest;
    const crossed = Number(controls.lowest.value) > Number(controls.highest.value);
    if (crossed) other.value = slider.value;
  });
}
filters.addEventListener("input", update);
for (const select of [controls.show, controls.truth, controls.sort]) select.onchange = update;
let isDrawn = true;
addEventListener("scroll", () => {
  if (isDrawn) requestAnimationFrame(() => { isDrawn = true; draw(); });
  isDrawn = false;
}, { passive: true });
new ResizeObserver(place).observe(gallery);
addEventListener("resize", place);
showTheme();
update();
